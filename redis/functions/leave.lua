-- martlet_leave: takes a node out of a room: itself, or a dead one swept by another.
--
-- KEYS  log nodes epochs meta presence roster, all of one room
-- ARGV  node · the epoch at which it entered · ms after which a room that nobody holds is forgotten · bound of the
--       presence stream
-- Returns 1; 0 if the node is not in the room with that epoch (then nothing was changed)
-- Atomic all of it: the node's entry; its devices leave the roster, each with an `expire` entry; if other nodes remain,
--       PUBLISH of `gone` and then of one presence notice; if none remains, every key of the room gets the TTL.
--       Comparing the epoch keeps a late sweep from removing a node that came back meanwhile.

redis.register_function('martlet_leave', function(keys, args)
    local log, nodes, _, _, presence, roster = unpack(keys)
    local node, value, ttl, maxlen = unpack(args, 1, 4)
    ttl, maxlen = int(number(ttl, 'ttl')), int(number(maxlen, 'maxlen'))
    channel(log)
    check(ROOM_TYPES, keys)
    if redis.call('HGET', nodes, node) ~= value then return 0 end

    local empty = redis.call('HLEN', nodes) == 1
    local changes = begin_changes(roster)
    local members, quoted = redis.call('HGETALL', roster), cjson.encode(node)
    for index = 1, #members, 2 do
        -- A look at the text saves decoding those who are elsewhere. With nobody left everybody goes.
        local user, text = members[index], members[index + 1]
        if empty or text:find(quoted, 1, true) then
            local devices = devices_of(roster, user, text)
            for holder, names in pairs(devices) do
                if empty or holder == node then
                    for _, device in ipairs(names) do
                        local list = changes.list
                        list[#list + 1] = {kind = 'expire', user = user, device = device, node = holder}
                    end
                    devices[holder] = nil
                    changes.users[user] = devices
                end
            end
        end
    end

    local last = {epoch = 0, seq = 0}
    if redis.call('EXISTS', log) == 1 then last = last_id(log) end
    local _, notice = write_changes(changes, presence, maxlen)
    redis.call('HDEL', nodes, node)
    if empty then
        for _, key in ipairs(keys) do redis.call('PEXPIRE', key, ttl) end
        return 1
    end
    publish(log, '{"type":"gone","node":' .. quoted .. ',"value":"' .. value .. '","nodes":'
        .. json_pairs(redis.call('HGETALL', nodes)) .. ',"last":"' .. int(last.epoch) .. '-' .. int(last.seq) .. '"}')
    if notice then publish(log, notice) end
    return 1
end)
