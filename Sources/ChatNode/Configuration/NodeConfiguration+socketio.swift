import ChatCore
import ChatGateway
import ChatWire
import Glibc

extension NodeConfiguration {
    /// Whether and how Socket.IO is spoken.
    public struct SocketIOSettings: Sendable, Hashable {
        /// Whether it is (word, default: off).
        public var mode = Mode.off
        /// What the events of its clients mean: the name of a shipped profile, or a file (default: martlet).
        public var profile = "martlet"

        public enum Mode: String, Sendable, CaseIterable {
            case off, on
        }

        public init() {}
    }

    static let socketIOSettings: [Setting] = [
        Setting(
            "socketio", \.socketIO.mode, .word(SocketIOSettings.Mode.allCases.map { ($0.rawValue, $0) }),
            "Whether clients of Socket.IO 4 may connect, at `/socket.io/`."),
        Setting(
            "socketio.profile", \.socketIO.profile, .socketIOProfile,
            "What the events of these clients mean: `martlet`, `chat` or `tutorial`, or the path of a file."),
    ]

    /// Settings of this kind that have no effect.
    func idleSocketIO() -> [ConfigurationWarning] {
        guard socketIO.mode == .off, given.contains("MARTLET_SOCKETIO_PROFILE") else { return [] }
        return [
            ConfigurationWarning(
                variable: "MARTLET_SOCKETIO_PROFILE",
                message: "MARTLET_SOCKETIO_PROFILE has no effect without MARTLET_SOCKETIO=on")
        ]
    }

    /// Reads the profile; nil if Socket.IO is not spoken. Throws why it cannot be used, with file and line.
    func readSocketIOProfile() throws(ConfigurationProblem) -> SocketIOProfile? {
        guard socketIO.mode == .on else { return nil }
        let name = socketIO.profile
        func problem(_ text: String) -> ConfigurationProblem {
            ConfigurationProblem(
                variables: ["MARTLET_SOCKETIO_PROFILE"], message: "MARTLET_SOCKETIO_PROFILE: \(name)\(text)")
        }
        let text: String
        if let shipped = SocketIOProfile.shipped[name] {
            text = shipped
        } else {
            do throws(TextFile.Problem) {
                text = try TextFile.read(name)
            } catch {
                throw problem(": \(error.description)")
            }
        }
        do throws(ProfileProblem) {
            return try SocketIOProfile(Array(text.utf8))
        } catch {
            throw problem(":\(error.line): \(error.text)")
        }
    }

    /// Reads the profile, and returns why it cannot be used.
    public func socketIOProblem() -> ConfigurationProblem? {
        do throws(ConfigurationProblem) {
            _ = try readSocketIOProfile()
            return nil
        } catch {
            return error
        }
    }
}

extension ValueRule where Value == String {
    /// The name of a shipped profile, or a file that can be read now.
    static let socketIOProfile = ValueRule(
        type: "word or path", range: SocketIOProfile.shipped.keys.sorted().joined(separator: ", ") + ", or a path",
        expected: "one of \(SocketIOProfile.shipped.keys.sorted().joined(separator: ", ")), or the path of a file",
        parse: { raw throws(Misfit) in
            if SocketIOProfile.shipped[raw.lowercased()] != nil { return raw.lowercased() }
            guard raw.contains("/") || raw.contains(".") else {
                throw Misfit(
                    NearestName.of(raw.lowercased(), among: Array(SocketIOProfile.shipped.keys)).map {
                        "did you mean \($0)?"
                    })
            }
            guard access(raw, R_OK) == 0 else { throw Misfit(strerror(errno).map { String(cString: $0) }) }
            return raw
        },
        show: { $0 }
    )
}
