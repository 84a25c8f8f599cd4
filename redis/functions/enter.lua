-- martlet_enter: a node, subscribed to the room's channel, registers in the room and begins a new epoch.
--
-- KEYS  log nodes epochs meta presence roster, all of one room
-- ARGV  node · position of the newest message it has shown ('' none) · highest epoch it ever saw here (0 none) · its
--       clock in ms · 1 if Redis' identity changed, else 0 · how many of the newest entries it wants · the epoch at which
--       the history of what follows began (0: nothing follows) ·
--       then its newest entries, oldest first, for each: ID, number of fields and values, fields and values
-- Returns {verdict, last ID, base, history, {chain: 'epoch-base', …}, {node, epoch, …}, {entries}, branch}; verdict: see
--       judge; branch: the first epoch that was begun on this Redis: nodes with an older one have not come back yet
-- Atomic all of it: if identity changed and the log lost its tail, or all, that is put back; verdict; new epoch (appends of
--       nodes that do not know it yet are refused); the node's entry; no key of the room expires any more; PUBLISH of
--       the epoch, always, for the node must hear itself before it trusts its subscription.

-- A log without an entry, at `epoch`; the room's history begins with it.
local function begin_log(log, epochs, meta, epoch)
    redis.call('XGROUP', 'CREATE', log, 'begin', '$', 'MKSTREAM')
    redis.call('XGROUP', 'DESTROY', log, 'begin')
    redis.call('XSETID', log, int(epoch) .. '-0')
    redis.call('DEL', epochs)
    redis.call('RPUSH', epochs, int(epoch) .. '-0')
    redis.call('HSET', meta, 'history', int(epoch))
    return {epoch = epoch, seq = 0, base = 0, history = epoch, links = {int(epoch) .. '-0'}}
end

redis.register_function('martlet_enter', function(keys, args)
    local log, nodes, epochs, meta = unpack(keys)
    local node, after, seen, clock, changed, limit, history = unpack(args, 1, 7)
    seen, clock, limit = number(seen, 'seen'), number(clock, 'clock'), number(limit, 'limit')
    history = number(history, 'history')
    local tail = read_tail(args, 8)
    channel(log)
    check(ROOM_TYPES, keys)
    local time, foreign = now(), jump(meta)
    local epoch = math.max(time, seen + (changed == '1' and 1000 or 1), math.min(clock, time + 60000))
    local exists = redis.call('EXISTS', log) == 1
    local room, verdict, entries
    if exists then
        room = read_room(log, epochs, meta, 0)
        epoch = math.max(epoch, room.epoch + 1, foreign and math.max(seen, room.epoch) + foreign or 0)
    else
        epoch = math.max(epoch, (position(redis.call('LINDEX', epochs, -1) or nil) or 0) + 1)
        room = begin_log(log, epochs, meta, epoch)
    end
    verdict, entries = judge(log, room, after, limit)
    local restored = changed == '1' and verdict[1] == 'rewound' and restore(log, epochs, meta, room, tail, history)
    if restored then verdict, entries = judge(log, room, after, limit) end
    if exists or restored then raise(log, epochs, meta, room, math.max(epoch, room.epoch + 1)) end
    if foreign or not exists then redis.call('HSET', meta, 'branch', int(room.epoch)) end
    redis.call('HSET', meta, 'run', run_id())
    redis.call('HSET', nodes, node, int(room.epoch))
    for _, key in ipairs(keys) do redis.call('PERSIST', key) end
    publish_epoch(log, nodes, room, node)
    return room_reply(room, nodes, meta, verdict, entries)
end)
