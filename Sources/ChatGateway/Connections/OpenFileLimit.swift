import Glibc

/// How many files and sockets the process may have open (RLIMIT_NOFILE, getrlimit(2)).
package enum OpenFileLimit {
    private static let resource = __rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue))

    /// The soft limit, which the kernel enforces; nil if there is none.
    package static var current: Int? { limits().flatMap { Int(exactly: $0.rlim_cur) } }

    /// Raises the soft limit to the hard one. Returns false if the kernel refuses.
    @discardableResult
    package static func raise() -> Bool {
        guard var limits = limits(), limits.rlim_cur < limits.rlim_max else { return true }
        limits.rlim_cur = limits.rlim_max
        return setrlimit(resource, &limits) == 0
    }

    private static func limits() -> rlimit? {
        var limits = rlimit()
        return getrlimit(resource, &limits) == 0 ? limits : nil
    }
}
