import CLinux

/// What distinguishes a file from one that replaced it or that was written anew (stat(2)). Symbolic links are followed,
/// so replacing a link or a folder above it counts as well.
package struct FileStamp: Hashable, Sendable {
    var device: UInt64
    var inode: UInt64
    var size: Int64
    /// The time of the last change in nanoseconds.
    var changed: Int64

    init(device: UInt64, inode: UInt64, size: Int64, changed: Int64) {
        self.device = device
        self.inode = inode
        self.size = size
        self.changed = changed
    }

    /// Nil if there is no such file, or if it cannot be looked at.
    package init?(_ path: String) {
        var look = file_look()
        guard file_look_at(path, &look) else { return nil }
        self.init(device: look.device, inode: look.inode, size: look.size, changed: look.changed_nanoseconds)
    }
}

/// Decides when files are read again that were read before. Pure. `Look`: the stamps of the files.
package struct FileChanges<Look: Hashable & Sendable>: Sendable {
    /// The files as they were at the last attempt to read them.
    private var read: Look
    /// A change that was seen at the last look only.
    private var changed: Look?

    /// `look`: the files as they were before they were read for the first time.
    package init(_ look: Look) {
        read = look
    }

    /// Whether the files are to be read now: they differ from those of the last attempt, and did not change between
    /// this look and the last one, so that whoever replaces them is done. An attempt is not repeated before the files
    /// change again, whatever came of it.
    package mutating func looked(_ look: Look) -> Bool {
        guard look != read else {
            changed = nil
            return false
        }
        guard look == changed else {
            changed = look
            return false
        }
        changed = nil
        read = look
        return true
    }
}

/// Decides when the files of the certificate are read again, and when an operator is told about its validity. Pure.
struct CertificateWatch {
    /// Both files at one moment; nil stands for a file that is not there.
    struct Look: Hashable, Sendable {
        var certificate: FileStamp?
        var key: FileStamp?
    }

    /// What an operator should know about a certificate.
    enum Notice: Hashable {
        /// Only this many whole days are left.
        case expiresSoon(days: Int64)
        case expired
        case notValidYet
    }

    /// The time before the end from which on notices are due, and the time between two of them, in seconds.
    static let soon: Int64 = 14 * 86_400
    static let pause: Int64 = 86_400

    private var changes: FileChanges<Look>
    /// When the last notice about the present certificate was due, in seconds since 1970.
    private var noticed: Int64?

    /// `look`: the files as they were before they were read for the first time.
    init(_ look: Look) {
        changes = FileChanges(look)
    }

    /// Whether both files are to be read now (``FileChanges/looked(_:)``).
    mutating func looked(_ look: Look) -> Bool { changes.looked(look) }

    /// Another certificate is in use.
    mutating func replaced() {
        noticed = nil
    }

    /// The notice that is due now. All times are in seconds since 1970.
    mutating func notice(begins: Int64, expires: Int64, now: Int64) -> Notice? {
        let notice: Notice
        if now >= expires {
            notice = .expired
        } else if now < begins {
            notice = .notValidYet
        } else if expires - now < Self.soon {
            notice = .expiresSoon(days: (expires - now) / 86_400)
        } else {
            return nil
        }
        if let noticed, now - noticed < Self.pause, now >= noticed { return nil }
        noticed = now
        return notice
    }
}
