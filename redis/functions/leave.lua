-- martlet_leave: takes a node out of a room: itself, or a dead one swept by another.
--
-- KEYS  log nodes epochs meta presence roster, all of one room
-- ARGV  node · the epoch at which it entered · ms after which a room that nobody holds is forgotten · bound of the
--       presence stream · optional: where the part before ended (0: the first part) · optional: 1 if the node itself
--       leaves, and has an answer to all that it asked
-- Returns 1; 0 if the node is not in the room with that epoch (then nothing was changed); {where it ended} if there is
--       more to do: some of the node's devices have left, and the node itself has not
-- Atomic this part: devices of the node leave the roster, each with an `expire` entry, and a presence notice tells the
--       others. With the last part the node's entry goes, and if other nodes remain, PUBLISH of `gone`; then, if the
--       node was swept, a new epoch and its PUBLISH: a node that was only held up may have appends on their way, which
--       others have repeated for its clients. If none remains, every key of the room gets the TTL; a room in which
--       nothing was ever said leaves nothing but `presence`, for ten seconds. Comparing the epoch keeps a late sweep from removing a node that came
--       back meanwhile.

-- The number of users of the roster that one call reads.
local PART = 500
-- For how long (ms) a room in which nothing was ever said keeps who came and went, for relays.
local PRESENCE_LIFE = 10000

-- Adds to `changes` that the node's devices among `members` (flat: user, JSON, …) expire, or everybody's.
local function expire_devices(changes, roster, members, node, everybody)
    local quoted = cjson.encode(node)
    for index = 1, #members, 2 do
        -- Searching the text saves decoding the users who are on other nodes.
        local user, text = members[index], members[index + 1]
        if not changes.users[user] and (everybody or text:find(quoted, 1, true)) then
            local devices = devices_of(roster, user, text)
            for holder, names in pairs(devices) do
                if everybody or holder == node then
                    for _, device in ipairs(names) do
                        local list = changes.list
                        list[#list + 1] = {kind = 'expire', user = user, device = device, node = holder}
                    end
                    devices[holder] = nil
                    changes.users[user] = devices
                end
            end
            local last = changes.users[user] and not next(devices) and changes.list[#changes.list]
            if last then last.is_edge = true end
        end
    end
end

redis.register_function('martlet_leave', function(keys, args)
    local log, nodes, epochs, meta, presence, roster = unpack(keys)
    local node, value, ttl, maxlen, cursor, own = unpack(args, 1, 6)
    ttl, maxlen = int(number(ttl, 'ttl')), int(number(maxlen, 'maxlen'))
    channel(log)
    check(ROOM_TYPES, keys)
    if redis.call('HGET', nodes, node) ~= value then return 0 end

    -- If no node remains everybody leaves, also the devices of nodes that are not in the room.
    local empty = redis.call('HLEN', nodes) == 1
    local changes, members = begin_changes(roster), nil
    if cursor then
        cursor, members = unpack(redis.call('HSCAN', roster, int(number(cursor, 'cursor')), 'COUNT', PART))
    else
        members = redis.call('HGETALL', roster)
    end
    expire_devices(changes, roster, members, node, empty)
    local _, notice = write_changes(changes, presence, maxlen)
    if cursor and cursor ~= '0' then
        if notice and not empty then publish(log, notice) end
        return {cursor}
    end
    -- A broken log keeps nobody in the room, and its contents are not deleted.
    local exists = redis.call('EXISTS', log) == 1
    local sound = not exists or sound_id(log)
    local last = exists and sound or {epoch = 0, seq = 0}
    redis.call('HDEL', nodes, node)
    if empty then
        -- An epoch that is ahead of the clock has to be kept, so that none below it begins; and so have rules.
        if sound and last.seq == 0 and not last.first and last.epoch <= now() and rules_version(log) == 0 then
            redis.call('DEL', index_key(log), log, nodes, epochs, meta, roster)
            redis.call('DEL', unpack(attached_keys(log)))
            redis.call('PEXPIRE', presence, PRESENCE_LIFE)
        else
            expire_room(log, meta, ttl, {index_key(log), unpack(keys)})
        end
        return 1
    end
    publish(log, '{"type":"gone","node":' .. cjson.encode(node) .. ',"value":"' .. value .. '","nodes":'
        .. json_pairs(redis.call('HGETALL', nodes)) .. ',"last":"' .. int(last.epoch) .. '-' .. int(last.seq) .. '"}')
    if notice then publish(log, notice) end
    if own ~= '1' and exists and sound then
        local room = read_room(log, epochs, meta, -1)
        raise(log, epochs, meta, room, math.max(now(), room.epoch + 1))
        publish_epoch(log, nodes, room, 'leave')
    end
    return 1
end)
