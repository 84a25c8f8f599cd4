-- martlet_view: the room as it is; changes nothing.
--
-- KEYS  log nodes epochs meta
-- ARGV  a position to be judged ('' none) · how much is wanted, `<entries>:<bytes>`: of what comes after it, or if
--       there is none or it is rewound of the newest
-- Returns what martlet_enter returns; nil if there is no log
-- Atomic all of it: verdict, last ID, nodes and entries are of one moment.

redis.register_function{function_name = 'martlet_view', flags = {'no-writes'}, callback = function(keys, args)
    local log, nodes, epochs, meta = unpack(keys)
    local after, limit = unpack(args, 1, 2)
    local wanted = bounds(limit, 'limit')
    check({'stream', 'hash', 'list', 'hash'}, keys)
    if redis.call('EXISTS', log) == 0 then return false end
    local room = read_room(log, epochs, meta, 0)
    return room_reply(log, room, nodes, meta, wanted, judge(log, room, after, wanted))
end}
