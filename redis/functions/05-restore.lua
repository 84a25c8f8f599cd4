-- Restores what a log lost when its Redis restarted or failed over. Used by enter.

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

-- The fields that tell one message from another, with its ID and time. The others are not among them: a node writes
-- these as it understands them, which need not be byte for byte as they are in the log.
local TELLING = {'user', 'text', 'key', 'op'}

-- Whether the entry of the tail is that of the log, which has the same ID. The tail may have its tombstone: then the log
-- lost that it was erased, and the user and the time tell.
local function same_message(left, right)
    if whole(field(left, 'at')) ~= whole(field(right, 'at')) then return false end
    if field(left, 'deleted') then return field(left, 'user') == field(right, 'user') end
    for _, name in ipairs(TELLING) do
        local own = field(left, name) or ''
        -- What is no UTF-8 was replaced by U+FFFD.
        if own ~= (field(right, name) or '') and not own:find('\239\191\189', 1, true) then return false end
    end
    return true
end

-- Where `tail` continues the log: the index in it of the log's last entry, 0 if the log has no entry. Nil if it does
-- not continue the log, because another node has continued it in another way, or an entry at its end was deleted by
-- hand. (Who erases a message appends an entry about it, so the last entry is never erased.)
local function place_in(tail, room, newest)
    if not newest then return room.seq == 0 and 0 or nil end
    local _, seq = position(newest[1])
    if seq ~= room.seq then return nil end
    for index = #tail, 1, -1 do
        if tail[index][1] == newest[1] then return same_message(tail[index][2], newest[2]) and index or nil end
    end
end

-- Whether the entries after `place` follow (epoch, seq), and each other, without a hole.
local function follows(tail, place, epoch, seq)
    for index = place + 1, #tail do
        local e, s = position(tail[index][1])
        if not e or e < epoch or #tail[index][2] == 0 or s == 0 or (s ~= seq + 1 and index > 1) then return false end
        epoch, seq = e, s
    end
    return #tail > place
end

-- Removes the epochs that began after `epoch`, that of the last entry. They have no message, and IDs could not grow
-- otherwise. False if the chain does not have that epoch.
local function cut_chain(epochs, room, epoch)
    local place = first_above(room.links, epoch) - 1
    if place == 0 or room.afresh or link(room.links[place]) ~= epoch then return false end
    for _ = place + 1, #room.links do
        redis.call('RPOP', epochs)
        room.links[#room.links] = nil
    end
    local _, base = link(room.links[place])
    room.epoch, room.base = epoch, base
    return true
end

-- The chain of an empty log begins with the first restored message.
local function begin_chain(epochs, meta, room, history, epoch, seq)
    room.links = {int(epoch) .. '-' .. int(seq - 1)}
    room.epoch, room.base, room.afresh = epoch, seq - 1, nil
    room.history = history > 0 and math.min(epoch, history) or epoch
    redis.call('DEL', epochs)
    redis.call('RPUSH', epochs, room.links[1])
    redis.call('HSET', meta, 'history', int(room.history))
end

-- Restores what the log lost, with the original IDs, if `tail` continues it. The first node to come back wins.
local function restore(log, epochs, meta, room, tail, history)
    local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
    local place = place_in(tail, room, newest)
    local epoch, seq = position(newest and newest[1] or '0-0')
    if not place or not follows(tail, place, epoch, seq) then return false end
    local first_epoch, first_seq = position(tail[place + 1][1])
    if newest then
        if not cut_chain(epochs, room, epoch) then return false end
    else
        begin_chain(epochs, meta, room, history, first_epoch, first_seq)
        room.first = first_seq
    end
    redis.call('XSETID', log, newest and newest[1] or '0-0')
    for index = place + 1, #tail do
        local id, fields = tail[index][1], tail[index][2]
        local e, s = position(id)
        if e > room.epoch then add_link(epochs, meta, room, e, s - 1) end
        if field(fields, 'deleted') then
            -- Erased text never comes back.
            fold_tombstone(log, id, fields)
            redis.call('XSETID', log, id)
        else
            redis.call('XADD', log, id, unpack(fields))
            fold(log, id, fields)
        end
        room.seq = s
    end
    return true
end
