-- martlet_enter: a node, subscribed to the room's channel, registers in the room and begins a new epoch.
--
-- KEYS  log nodes epochs meta presence roster, all of one room
-- ARGV  node · position of the newest message it has shown ('' none) · highest epoch it ever saw here (0 none) · its
--       clock in ms · 1 if Redis' identity changed, else 0 · how many of the newest entries it wants ·
--       then its newest entries, oldest first, for each: ID, number of fields and values, fields and values
-- Returns {verdict, last ID, base, history, {chain: 'epoch-base', …}, {node, epoch, …}, {entries}}; verdict: see judge
-- Atomic all of it: if identity changed and the log lost its tail, that is put back; verdict; new epoch (appends of nodes
--       that do not know it yet are refused); the node's entry; no key of the room expires any more; PUBLISH of the
--       epoch, always, for the node must hear itself before it trusts its subscription.

-- The arguments from `start` on as {id, fields}.
local function read_tail(args, start)
    local tail, index = {}, start
    while args[index] do
        local fields, count = {}, number(args[index + 1], 'the number of fields in the tail')
        for place = index + 2, index + 1 + count do fields[#fields + 1] = args[place] end
        tail[#tail + 1] = {args[index], fields}
        index = index + 2 + count
    end
    return tail
end

local function same_message(left, right)
    local values = {}
    for index = 1, #left, 2 do values[left[index]] = left[index + 1] end
    local seen = 0
    for index = 1, #right, 2 do
        if values[right[index]] ~= right[index + 1] then return false end
        seen = seen + 2
    end
    return seen == #left
end

-- Puts back what the log lost, with the original IDs, if `tail` continues the log's last entry without a hole and nobody
-- has gone another way meanwhile (the first node to come back wins).
local function restore(log, epochs, meta, room, tail)
    local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
    local place
    for index, entry in ipairs(tail) do
        if newest and entry[1] == newest[1] and same_message(entry[2], newest[2]) then place = index end
    end
    if not place or place == #tail then return false end
    local epoch, seq = room.epoch, room.seq
    for index = place + 1, #tail do
        local e, s = position(tail[index][1])
        if not e or e < epoch or s ~= seq + 1 or #tail[index][2] == 0 then return false end
        epoch, seq = e, s
    end
    for index = place + 1, #tail do
        local e, s = position(tail[index][1])
        if e > room.epoch then add_link(epochs, meta, room, e, s - 1) end
        redis.call('XADD', log, tail[index][1], unpack(tail[index][2]))
        room.seq = s
    end
    return true
end

redis.register_function('martlet_enter', function(keys, args)
    local log, nodes, epochs, meta = unpack(keys)
    local node, after, seen, clock, changed, limit = unpack(args)
    seen, clock, limit = number(seen, 'seen'), number(clock, 'clock'), number(limit, 'limit')
    local tail = read_tail(args, 7)
    channel(log)
    check(ROOM_TYPES, keys)
    local time = now()
    local epoch = math.max(time, seen + (changed == '1' and 1000 or 1), math.min(clock, time + 60000))
    local room, verdict, entries
    if redis.call('EXISTS', log) == 1 then
        room = read_room(log, epochs, meta, 0)
        verdict, entries = judge(log, room, after, limit)
        if changed == '1' and verdict[1] == 'rewound' and restore(log, epochs, meta, room, tail) then
            verdict, entries = judge(log, room, after, limit)
        end
        raise(log, epochs, meta, room, math.max(epoch, room.epoch + 1))
    else
        local old = position(redis.call('LINDEX', epochs, -1) or nil)
        epoch = math.max(epoch, (old or 0) + 1)
        redis.call('XGROUP', 'CREATE', log, 'begin', '$', 'MKSTREAM')
        redis.call('XGROUP', 'DESTROY', log, 'begin')
        redis.call('XSETID', log, int(epoch) .. '-0')
        room = {epoch = epoch, seq = 0, base = 0, history = epoch, links = {int(epoch) .. '-0'}}
        redis.call('DEL', epochs)
        redis.call('RPUSH', epochs, room.links[1])
        redis.call('HSET', meta, 'history', int(epoch))
        verdict, entries = {after == '' and 'ok' or 'rewound'}, {}
    end
    redis.call('HSET', meta, 'run', run_id())
    redis.call('HSET', nodes, node, int(room.epoch))
    for _, key in ipairs(keys) do redis.call('PERSIST', key) end
    publish_epoch(log, nodes, room, node)
    return room_reply(room, nodes, verdict, entries)
end)
