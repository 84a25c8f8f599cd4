-- martlet_view: the room as it is; changes nothing.
--
-- KEYS  log nodes epochs meta
-- ARGV  a position to be judged ('' none) · how many of the newest entries are wanted if there is none, or it is rewound
-- Returns what martlet_enter returns; nil if there is no log
-- Atomic all of it: verdict, last ID, nodes and entries are of one moment.

redis.register_function{function_name = 'martlet_view', flags = {'no-writes'}, callback = function(keys, args)
    local log, nodes, epochs, meta = unpack(keys)
    local after, limit = unpack(args, 1, 2)
    limit = number(limit, 'limit')
    check({'stream', 'hash', 'list', 'hash'}, keys)
    if redis.call('EXISTS', log) == 0 then return false end
    local room = read_room(log, epochs, meta, 0)
    local verdict, entries = judge(log, room, after, limit)
    return room_reply(room, nodes, meta, verdict, entries)
end}
