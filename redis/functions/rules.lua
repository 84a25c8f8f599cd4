-- martlet_rules: the rules and sanctions of a room; changes nothing.
-- FCALL martlet_rules 3 'martlet:{lobby}:log' 'martlet:{lobby}:rules' 'martlet:{lobby}:sanctions'
--
-- KEYS  log rules sanctions
-- ARGV  a user, for the sanctions of that user alone; '' or none for all of them, at most 1,000
-- Returns {version of the rules, {rule, value, …}, {`ban:<user>` or `mute:<user>`, JSON, …}}; the version is 0 if the
--       room was never moderated. The rules of a room with participants have more fields: see add_participants
-- Atomic all of it.

redis.register_function{function_name = 'martlet_rules', flags = {'no-writes'}, callback = function(keys, args)
    local log, rules, sanctions = unpack(keys)
    local user = args[1] or ''
    channel(log)
    check({'stream', 'hash', 'hash'}, keys)
    if user == '' then return rules_reply(log) end
    local found = {}
    for _, kind in ipairs({'ban:', 'mute:'}) do
        local text = redis.call('HGET', sanctions, kind .. user)
        if text then
            found[#found + 1] = kind .. user
            found[#found + 1] = text
        end
    end
    return {int(rules_version(log)), add_participants(log, redis.call('HGETALL', rules), user), found}
end}
