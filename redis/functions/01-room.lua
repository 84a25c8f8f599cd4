-- The state of a room's log, pages of it, its bounds, and the beginning of a new epoch. Shared by most functions.

-- The index of the keys of messages; see 04-keys.
local function index_key(log)
    return key_of(log, 'keys')
end

-- Returns entries from `from` to `to` in the order of the command (XRANGE or XREVRANGE), at most `count`, and at most
--       `bytes` bytes of fields and values, but at least one if there is one and `count` is not 0; then whether there
--       are more. XRANGE has no bound in bytes, so it reads a few entries at a time, no more than should fit by the
--       size of the earlier ones. So a long entry among short ones costs little.
local function page(command, log, from, to, count, bytes)
    local taken, total, chunk = {}, 0, 2
    while true do
        local wanted = math.min(chunk, count - #taken + 1)
        local entries = redis.call(command, log, from, to, 'COUNT', wanted)
        for _, entry in ipairs(entries) do
            local size = entry_size(entry[2])
            if #taken >= count or (#taken > 0 and total + size > bytes) then return taken, true end
            taken[#taken + 1], total = entry, total + size
        end
        if #entries < wanted then return taken, false end
        from = '(' .. entries[#entries][1]
        local fitting = math.floor((bytes - total) / math.max(1, total / #taken)) + 1
        chunk = math.max(1, math.min(chunk * 2, 16, fitting))
    end
end

-- The epoch and seq of a stream's last ID, its length, the epoch and seq of its first entry (nil if it has none), and
-- the ID of its newest entry. Nil if the last ID is beyond the bounds, so that no node wrote it. The key exists.
local function sound_id(stream)
    local info = redis.call('XINFO', 'STREAM', stream)
    local room = {}
    for index = 1, #info, 2 do
        if info[index] == 'last-generated-id' then
            room.epoch, room.seq = position(info[index + 1])
        elseif info[index] == 'length' then
            room.length = info[index + 1]
        elseif info[index] == 'first-entry' and info[index + 1] then
            room.first_epoch, room.first = position(info[index + 1][1])
        elseif info[index] == 'last-entry' and info[index + 1] then
            room.newest = info[index + 1][1]
        end
    end
    return room.epoch and room.epoch <= newest(AHEAD) and room or nil
end

-- The same for a log; raises an error if the last ID is beyond the bounds.
local function last_id(log)
    local room = sound_id(log)
    if not room then
        error({err = 'ERR martlet: the last ID of ' .. log .. ' is beyond 2^53 or years ahead, none of ours; see martlet doctor'})
    end
    return room
end

-- Identifies the Redis process; it is another one after a restart or failover. `enter` stores it in meta as `run`. 16
-- of its 40 digits are enough, and every room keeps them. Looked up once after each loading of the library.
local own_run
local function run_id()
    own_run = own_run or (redis.call('INFO', 'server'):match('run_id:(%x+)') or ''):sub(1, 16)
    return own_run
end

-- The distance between the first epoch on another Redis and all earlier ones. On a branch that was lost, the next
-- epochs and positions may have been used already, so the distance is 1,000 and an amount that depends on the run ID.
-- Nil if the room met this Redis last, or none.
local function jump(meta)
    local run, own = redis.call('HGET', meta, 'run'), run_id()
    if not run or run:sub(1, 16) == own then return nil end
    return 1000 + (tonumber(own:sub(1, 4), 16) or 0)
end

-- The room has met this Redis, and its first epoch here is `branch` (nil: as before). `foreign`: it met another one
-- last. Then nobody knows any more which nodes outsiders need not wait for (`returns`), even if it was noted on this
-- Redis: that may have been the master before. Only a wait that is under way goes on.
local function meet(meta, foreign, branch)
    local own = run_id()
    redis.call('HSET', meta, 'run', own)
    if branch then redis.call('HSET', meta, 'branch', int(branch)) end
    local returns = foreign and redis.call('HGET', meta, 'returns')
    if not returns then return end
    local till = returns:sub(1, #own + 1) == own .. ':' and whole(returns:sub(#own + 2))
    if not till or till <= now() then redis.call('HDEL', meta, 'returns') end
end

-- A link of the chain as two numbers; zeros if it is not valid.
local function link(text)
    local epoch, base = position(text)
    return epoch or 0, base or 0
end

-- The state of the room: the last ID, `base` (the seq at which its epoch began), `history` (the epoch at which history
-- began) and `links`, the epoch chain, oldest first, as stored. There may be a thousand links, and each is parsed only
-- when needed. `from` 0 reads the whole chain, -1 the newest link. If the chain does not end with the epoch of the log
-- (an outsider began the log, or the chain was lost), history begins with that epoch, and `afresh` is set.
local function read_room(log, epochs, meta, from)
    local room = last_id(log)
    room.links = redis.call('LRANGE', epochs, from, -1)
    local history = redis.call('HGET', meta, 'history')
    room.history = whole(history)
    if history and (room.history or MAX_NUMBER) > room.epoch then
        -- The stored value is no epoch of this room, so history begins with the oldest link.
        local oldest = link(redis.call('LINDEX', epochs, 0) or nil)
        room.history = oldest > 0 and oldest <= room.epoch and oldest or nil
    end
    local newest, base = link(room.links[#room.links])
    if not room.history or newest ~= room.epoch or base > room.seq then
        local entry = redis.call('XRANGE', log, int(room.epoch) .. '-0', int(room.epoch), 'COUNT', 1)[1]
        local _, seq = position(entry and entry[1])
        base = seq and math.max(first_of_epoch(log, room.epoch, seq) - 1, 0) or room.seq
        room.afresh, room.history, room.links = true, room.epoch, {int(room.epoch) .. '-' .. int(base)}
    end
    room.base = base
    return room
end

-- Adds the epoch that begins at seq `base` to the chain, and removes the newest link if it has no message.
local function add_link(epochs, meta, room, epoch, base)
    local links = room.links
    if room.afresh then
        redis.call('DEL', epochs)
        redis.call('HSET', meta, 'history', int(room.history))
        redis.call('RPUSH', epochs, links[1])
        room.afresh = nil
    end
    if room.base == base and room.epoch ~= room.history then
        redis.call('RPOP', epochs)
        links[#links] = nil
    end
    links[#links + 1] = int(epoch) .. '-' .. int(base)
    redis.call('RPUSH', epochs, links[#links])
    room.epoch, room.base = epoch, base
end

-- Begins `epoch` at the log's last seq, so that appends with an older epoch are refused. Removes links that ended below
-- the first entry of the log.
local function raise(log, epochs, meta, room, epoch)
    redis.call('XSETID', log, int(epoch) .. '-' .. int(room.seq))
    add_link(epochs, meta, room, epoch, room.seq)
    local first, dropped = room.first or room.seq + 1, 0
    while true do
        local second = redis.call('LINDEX', epochs, 1)
        local _, base = link(second)
        if not second or base + 1 >= first then break end
        redis.call('LPOP', epochs)
        dropped = dropped + 1
    end
    if dropped > 0 then
        local kept = {}
        for index = dropped + 1, #room.links do kept[#kept + 1] = room.links[index] end
        room.links = kept
    end
end
