/// The Redis Functions library `martlet`: the Lua files of `functions/`, built into the binary.
public enum FunctionLibrary {
    public static let name = "martlet"

    /// What `FUNCTION LOAD` takes: all files, in the order of their names.
    public static let source: [UInt8] =
        PackageResources._0_library_lua + PackageResources._0_tombstones_lua + PackageResources._1_room_lua
        + PackageResources._1_rules_lua + PackageResources._2_judge_lua + PackageResources._3_roster_lua
        + PackageResources._4_cursors_lua + PackageResources._4_keys_lua + PackageResources._4_overlay_lua
        + PackageResources._5_restore_lua
        + PackageResources._5_trimming_lua + PackageResources._6_outside_lua + PackageResources._6_reads_lua
        + PackageResources.amend_lua
        + PackageResources.append_lua + PackageResources.close_lua + PackageResources.command_lua
        + PackageResources.conversation_lua
        + PackageResources.cursor_lua + PackageResources.enter_lua + PackageResources.head_lua
        + PackageResources.history_lua
        + PackageResources.lease_lua + PackageResources.leave_lua + PackageResources.moderate_lua
        + PackageResources.nodes_lua
        + PackageResources.once_lua + PackageResources.participants_lua + PackageResources.presence_lua
        + PackageResources.read_lua + PackageResources.receipts_lua + PackageResources.relay_lua
        + PackageResources.reply_lua
        + PackageResources.roster_lua + PackageResources.rules_lua + PackageResources.say_lua
        + PackageResources.stars_lua + PackageResources.trim_lua + PackageResources.user_lua
        + PackageResources.version_lua + PackageResources.view_lua

    /// What `martlet_version` answers once ``source`` is loaded: the number in `00-library.lua`.
    public static let version: Int = version(in: source)

    /// The number behind `local VERSION = `; 0 if it is not there.
    public static func version(in source: [UInt8]) -> Int {
        let mark = Array("local VERSION = ".utf8)
        guard let start = source.indices.first(where: { source[$0...].starts(with: mark) }) else { return 0 }
        var version = 0
        for byte in source[(start + mark.count)...] {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9"), version < 1_000_000 else { break }
            version = version * 10 + Int(byte - UInt8(ascii: "0"))
        }
        return version
    }
}
