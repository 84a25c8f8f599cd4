-- martlet_view: the room as it is; changes nothing.
--
-- KEYS  log nodes epochs meta rules sanctions (versions before 14: without the last two)
-- ARGV  a position to be judged ('' none) · how much is wanted, `<entries>:<bytes>`: of what comes after it, or if
--       there is none or it is rewound of the newest · with rules among the keys: the version of them that the node has
-- Returns what martlet_enter returns, the rules only if they have another version; nil if there is no log
-- Atomic all of it: verdict, last ID, nodes and entries are of one moment.

redis.register_function{function_name = 'martlet_view', flags = {'no-writes'}, callback = function(keys, args)
    local log, nodes, epochs, meta = unpack(keys)
    local after, limit, known = unpack(args, 1, 3)
    local wanted = bounds(limit, 'limit')
    check({'stream', 'hash', 'list', 'hash'}, keys)
    if keys[6] then check(RULES_TYPES, {keys[5], keys[6]}) end
    if redis.call('EXISTS', log) == 0 then return false end
    local room = read_room(log, epochs, meta, 0)
    return room_reply(log, room, nodes, meta, wanted, keys[6] and known or nil, judge(log, room, after, wanted))
end}
