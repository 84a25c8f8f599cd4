-- martlet_enter: a node, subscribed to the room's channel, registers in the room and begins a new epoch.
--
-- KEYS  log nodes epochs meta presence roster rules sanctions, all of one room (versions before 14: without the last two)
-- ARGV  node · position of the newest message it has shown ('' none) · highest epoch it ever saw here (0 none) · its
--       clock in ms · 0: Redis' identity is as before; 1: it changed; 2: it changed, and the node has newest entries to
--       offer if the log lost some · how much it wants, `<entries>:<bytes>` · the epoch at which the history of what
--       follows began (0: nothing follows) · then its newest entries, oldest first, for each: ID, number of fields and
--       values, fields and values
-- Returns {verdict, last ID, base, history, {chain: 'epoch-base', …}, {node, epoch, …}, {entries}, branch, 1 if there
--       are more entries than these, and if the keys have rules: {version, {rules}, {sanctions}}, nil if the room was
--       never moderated}; verdict: see judge; branch: the first epoch that was begun on this Redis: nodes with an older
--       one have not come back yet. With 2, if the log lost what the node may have: {{'bring'}, ID of the
--       log's last entry, or '0-0'}, and nothing was changed: the node asks again with 1 and what it has from that
--       entry on
-- Atomic all of it: if identity changed and the log lost its tail, or all, that is put back; verdict; new epoch
--       (appends of nodes that do not know it yet are refused); the node's entry; no key of the room expires any more;
--       PUBLISH of the epoch, always, for the node must hear itself before it trusts its subscription.

-- Begins a log without an entry at `epoch`, with which the room's history begins.
local function begin_log(log, epochs, meta, epoch)
    redis.call('XGROUP', 'CREATE', log, 'begin', '$', 'MKSTREAM')
    redis.call('XGROUP', 'DESTROY', log, 'begin')
    redis.call('XSETID', log, int(epoch) .. '-0')
    redis.call('DEL', epochs, index_key(log))
    forget_amendments(log)
    redis.call('RPUSH', epochs, int(epoch) .. '-0')
    redis.call('HSET', meta, 'history', int(epoch))
    return {epoch = epoch, seq = 0, base = 0, history = epoch, links = {int(epoch) .. '-0'}}
end

redis.register_function('martlet_enter', function(keys, args)
    local log, nodes, epochs, meta = unpack(keys)
    local node, after, seen, clock, changed, wanted, history = unpack(args, 1, 7)
    seen, clock, wanted = math.min(number(seen, 'seen'), newest(CLAIMED_AHEAD)), number(clock, 'clock'), bounds(wanted, 'limit')
    history = number(history, 'history')
    local tail = read_tail(args, 8)
    channel(log)
    check(ROOM_TYPES, keys)
    check(AMENDMENT_TYPES, {amendment_keys(log)})
    if keys[8] then check(RULES_TYPES, {keys[7], keys[8]}) end
    local time, foreign = now(), jump(meta)
    local epoch = math.max(time, seen + (changed == '0' and 1 or 1000), math.min(clock, time + 60000))
    local exists = redis.call('EXISTS', log) == 1
    local room = exists and read_room(log, epochs, meta, 0)
    local verdict, entries, more
    if room then verdict, entries, more = judge(log, room, after, wanted) end
    local lost = changed ~= '0' and (not room or verdict[1] == 'rewound')
    if changed == '2' and lost then
        local newest = room and redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
        return {{'bring'}, newest and position(newest[1]) and newest[1] or '0-0'}
    end
    if room then
        epoch = math.max(epoch, room.epoch + 1, foreign and math.max(seen, room.epoch) + foreign or 0)
    else
        local ended = position(redis.call('LINDEX', epochs, -1) or nil) or 0
        if ended <= newest(AHEAD) then epoch = math.max(epoch, ended + 1) end
        room = begin_log(log, epochs, meta, epoch)
        verdict, entries, more = judge(log, room, after, wanted)
        lost = changed ~= '0' and verdict[1] == 'rewound'
    end
    local restored = lost and restore(log, epochs, meta, room, tail, history)
    if restored then verdict, entries, more = judge(log, room, after, wanted) end
    if exists or restored then raise(log, epochs, meta, room, math.max(epoch, room.epoch + 1)) end
    meet(meta, foreign, (foreign or not exists) and room.epoch or nil)
    redis.call('HSET', nodes, node, int(room.epoch))
    for _, key in ipairs(keys) do redis.call('PERSIST', key) end
    for _, key in ipairs({index_key(log), unpack(attached_keys(log))}) do redis.call('PERSIST', key) end
    publish_epoch(log, nodes, room, node)
    return room_reply(log, room, nodes, meta, wanted, keys[8] and '0', verdict, entries, more)
end)
