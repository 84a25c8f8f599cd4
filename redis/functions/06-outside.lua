-- What messages and amendments from outside a room have in common: they are appended at the log's own epoch. Shared by
-- say and amend.

local RETURNS = 5000
local DEFAULT_BOUNDS = '1000:4194304:10000:16777216'

-- Whether nodes of the room may still put back what this Redis lost when it took the place of another one: a message at
-- a position of theirs would make that impossible, and void what they have shown. They are waited for from the first
-- call on. `returns` of meta: the run that nobody is waited for on any more, or `<run>:<until>`.
local function awaits_returns(log, meta)
    local own, nodes = run_id(), key_of(log, 'nodes')
    local run, branch, returns = unpack(redis.call('HMGET', meta, 'run', 'branch', 'returns'))
    local foreign, first, missing = run and run:sub(1, 16) ~= own, whole(branch) or 0, false
    -- Whoever notes that also notes that the room has met this Redis, so beside another run it is of an earlier time.
    if returns == own and not foreign then return false end
    check({'hash'}, {nodes})
    for _, value in ipairs(redis.call('HVALS', nodes)) do
        missing = missing or foreign or (whole(value) or 0) < first
    end
    local started = returns and returns:sub(1, #own + 1) == own .. ':'
    if missing then
        local till = started and whole(returns:sub(#own + 2)) or now() + RETURNS
        if not started then redis.call('HSET', meta, 'returns', own .. ':' .. int(till)) end
        if now() < till and till <= now() + RETURNS then return true end
    end
    if missing or started then redis.call('HSET', meta, 'returns', own) end
    return false
end

-- Begins an epoch if this is not the Redis that the room last met; returns the epoch.
local function foreign_epoch(log, room)
    local epochs, meta, nodes = key_of(log, 'epochs'), key_of(log, 'meta'), key_of(log, 'nodes')
    check({'list', 'hash', 'hash'}, {epochs, meta, nodes})
    local foreign = jump(meta)
    if not foreign then return room.epoch end
    room = read_room(log, epochs, meta, -1)
    raise(log, epochs, meta, room, math.max(now(), room.epoch + foreign))
    redis.call('HSET', meta, 'run', run_id(), 'branch', int(room.epoch))
    publish_epoch(log, nodes, room, 'say')
    local ttl = redis.call('PTTL', log)
    if ttl > 0 then
        redis.call('PEXPIRE', epochs, ttl)
        redis.call('PEXPIRE', meta, ttl)
    end
    return room.epoch
end

-- The error for a user that is no name; or nil.
local function user_error(user)
    if not user or #user == 0 or #user > 128 or user:find('%c') then
        return {err = 'ERR martlet: user must be 1 to 128 bytes without control characters'}
    end
end

-- Appends at the log's own epoch, within the bounds of the log, and returns the ID.
local function append_outside(log, room, kept, fields)
    local epoch = foreign_epoch(log, room)
    local most = int(most_entries(log, kept))
    local id = redis.call('XADD', log, 'MAXLEN', '~', most, int(epoch) .. '-*', unpack(fields))
    -- Only one message in sixteen trims, as reading the size of a long log costs more than a message.
    if (room.seq + 1) % 16 == 0 then trim(log, kept) end
    return id
end

-- Extends the life of a room that no node holds.
local function renew_outside(log, meta, ttl)
    if redis.call('PTTL', log) <= 0 then return end
    expire_room(log, meta, ttl, {log, meta})
end
