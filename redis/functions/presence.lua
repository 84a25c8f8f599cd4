-- martlet_presence: devices of a node's users come and go.
--
-- KEYS  log nodes presence roster (the log only names the channel)
-- ARGV  node · the epoch at which it entered · 'all' or 'delta' · bound of the presence stream · then for each device:
--       '+' or '-', user, device. 'all': these, each '+', are all that the node has; others of it go
-- Returns {position, position before, members, {user, device, node, 1 or 0, …}}; {position} if nothing changed; nil if
--       the node is not in the room with that epoch (it was swept: nothing changed)
-- Atomic all of it: roster, presence entries, and PUBLISH of one notice if another node is in the room.

redis.register_function('martlet_presence', function(keys, args)
    local log, nodes, presence, roster = unpack(keys)
    local node, value, mode, maxlen = unpack(args, 1, 4)
    maxlen = int(number(maxlen, 'maxlen'))
    channel(log)
    check({'stream', 'hash', 'stream', 'hash'}, keys)
    if redis.call('HGET', nodes, node) ~= value then return false end

    local changes = begin_changes(roster)
    if mode == 'all' then
        local kept = {}
        for index = 5, #args, 3 do kept[args[index + 1] .. '\n' .. args[index + 2]] = true end
        local members, quoted = redis.call('HGETALL', roster), cjson.encode(node)
        for index = 1, #members, 2 do
            local user, text = members[index], members[index + 1]
            local devices = text:find(quoted, 1, true) and devices_of(roster, user, text)[node] or {}
            for _, device in ipairs(devices) do
                if not kept[user .. '\n' .. device] then change(changes, 'leave', user, device, node) end
            end
        end
    end
    for index = 5, #args, 3 do
        change(changes, args[index] == '+' and 'join' or 'leave', args[index + 1], args[index + 2], node)
    end

    local reply, notice = write_changes(changes, presence, maxlen)
    if notice and redis.call('HLEN', nodes) > 1 then publish(log, notice) end
    return reply
end)
