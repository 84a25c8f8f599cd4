import ChatAccess
import ChatCore
import ChatHub

extension NodeConfiguration {
    /// What decides about messages before they are stored.
    public struct Screening: Sendable, Hashable {
        /// A file of words, one a line (path, default: none).
        public var wordsFile: String?
        /// What becomes of a message with one of them (word, default: refuse).
        public var wordsMode = WordScreen.Mode.refuse
        /// The address of the hook (URL, default: none).
        public var hook: KeySetURL?
        /// The secret that signs what it is sent (string, secret, default: none).
        public var hookSecret: Secret?
        /// How long a message waits for its decision (duration, default: 500ms, range: 10ms to 30s).
        public var hookTimeout: Duration = .milliseconds(500)
        /// What becomes of a message about which it does not decide (word, default: allow).
        public var hookFailure = HookFailure.allow

        public enum HookFailure: String, Sendable, CaseIterable {
            /// It is stored.
            case allow
            /// It is not, and its sender may try again.
            case refuse
        }

        /// A file of incoming hooks (path, default: none).
        public var hooksFile: String?

        public init() {}
    }

    static let screeningSettings: [Setting] = [
        Setting(
            "hooks", \.screening.hooksFile, ValueRule.file.optional(),
            "JSON file of incoming hooks: which other services may post to `/hooks/<name>`, and what becomes of it. "
                + "It is read when the node starts."),
        Setting(
            "words", \.screening.wordsFile, ValueRule.file.optional(),
            "File of words that no message may have, one a line; a line that begins with `#` is a comment. A new file "
                + "is in use a few seconds later, without a restart."),
        Setting(
            "words.mode", \.screening.wordsMode, .word(WordScreen.Mode.allCases.map { ($0.rawValue, $0) }),
            "What becomes of a message with such a word: it is not stored, and its sender gets the error "
                + "`blockedWord`; or it is stored with an asterisk for each character of the word."),
        Setting(
            "hook.url", \.screening.hook, ValueRule.hook.orNone(),
            "URL that is asked about each message before it is stored, and may allow it, refuse it, or replace its "
                + "text."),
        Setting(
            "hook.secret", \.screening.hookSecret, ValueRule.hookSecret.optional(), secret: true,
            "Secret that signs what the hook is sent (HMAC-SHA256, headers of Standard Webhooks)."),
        Setting(
            "hook.timeout", \.screening.hookTimeout, .duration(.milliseconds(10)...(.seconds(30))),
            "Time that a message may wait for the hook's decision."),
        Setting(
            "hook.on.failure", \.screening.hookFailure,
            .word(Screening.HookFailure.allCases.map { ($0.rawValue, $0) }),
            "What becomes of a message if the hook does not decide in time: it is stored, or it is not, and its sender "
                + "gets the error `unavailable`."),
    ]

    static let screeningChecks: [Check] = [
        Check(
            keys: ["hook.url", "hook.secret"],
            holds: { $0.screening.hook == nil || $0.screening.hookSecret != nil },
            rule: "%0 needs %1: without it the hook cannot tell who asks")
    ]

    /// Settings of this kind that have no effect.
    func idleScreening() -> [ConfigurationWarning] {
        var warnings: [ConfigurationWarning] = []
        func warn(_ variables: [String], without other: String) {
            for variable in variables where given.contains(variable) {
                warnings.append(
                    ConfigurationWarning(variable: variable, message: "\(variable) has no effect without \(other)"))
            }
        }
        if screening.wordsFile == nil { warn(["MARTLET_WORDS_MODE"], without: "MARTLET_WORDS") }
        if screening.hook == nil {
            warn(
                ["MARTLET_HOOK_SECRET", "MARTLET_HOOK_TIMEOUT", "MARTLET_HOOK_ON_FAILURE"], without: "MARTLET_HOOK_URL")
        }
        return warnings
    }

    /// How the hook is asked; nil if there is none.
    var hookSettings: HookSettings? {
        guard screening.hook != nil else { return nil }
        var settings = HookSettings()
        settings.timeout = screening.hookTimeout
        settings.allowsUndecided = screening.hookFailure == .allow
        settings.waitingInRoom = limits.waitingSendsPerRoom
        return settings
    }

    /// The hook; nil if there is none.
    func hookTarget() throws -> HookTarget? {
        guard let url = screening.hook, let secret = screening.hookSecret.flatMap({ HookSecret($0.revealed) }) else {
            return nil
        }
        return try HookTarget(url, secret: secret, timeout: screening.hookTimeout)
    }

    /// Reads the list of words; nil if there is none. Throws why it cannot be used, with file and line.
    func readWords() throws(ConfigurationProblem) -> WordScreen? {
        guard let path = screening.wordsFile else { return nil }
        func problem(_ place: String, _ text: String) -> ConfigurationProblem {
            ConfigurationProblem(variables: ["MARTLET_WORDS"], message: "MARTLET_WORDS: \(place): \(text)")
        }
        let text: String
        do throws(TextFile.Problem) {
            text = try TextFile.read(path)
        } catch {
            throw problem(path, error.description)
        }
        do throws(WordList.Problem) {
            return WordScreen(try WordList.read(text), screening.wordsMode)
        } catch {
            throw problem(error.line.map { "\(path):\($0)" } ?? path, error.text)
        }
    }

    /// Reads the incoming hooks; nil if there are none. Throws why they cannot be used.
    func readHooks() throws(ConfigurationProblem) -> HookFile? {
        guard let path = screening.hooksFile else { return nil }
        let text: String
        do throws(TextFile.Problem) {
            text = try TextFile.read(path)
        } catch {
            throw ConfigurationProblem(variables: ["MARTLET_HOOKS"], message: "MARTLET_HOOKS: \(path): \(error)")
        }
        return try HookFile(text, maxBytes: limits.frameBytes)
    }

    /// Reads the incoming hooks, and returns why they cannot be used.
    public func hooksProblem() -> ConfigurationProblem? {
        do throws(ConfigurationProblem) {
            _ = try readHooks()
            return nil
        } catch {
            return error
        }
    }

    /// Reads the list of words, and returns why it cannot be used.
    public func wordsProblem() -> ConfigurationProblem? {
        do throws(ConfigurationProblem) {
            _ = try readWords()
            return nil
        } catch {
            return error
        }
    }
}

extension ValueRule where Value == KeySetURL {
    static let hook = ValueRule(
        type: "URL", range: "https://, or http:// of this machine",
        expected: "a URL such as https://moderation.example/decide", parse: keySet.parse, show: { "\($0)" })
}

extension ValueRule where Value == NodeConfiguration.Secret {
    /// A secret that signs what a hook is sent.
    static let hookSecret = ValueRule(
        type: "string, secret", range: "at least 24 bytes",
        expected: "at least 24 bytes without control characters, such as the output of openssl rand -hex 32, or whsec_ "
            + "and the base64 of as many bytes",
        parse: { raw throws(Misfit) in
            let secret = try ValueRule.secret.parse(raw)
            guard HookSecret(raw) != nil else { throw Misfit("it is too short, or no base64") }
            return secret
        },
        show: { "\($0)" },
        quote: { _ in "***" }
    )
}
