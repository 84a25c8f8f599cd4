-- martlet_say: a message from somebody who is in no room, a program or a person:
-- FCALL martlet_say 1 'martlet:{lobby}:log' bot 'hello'
--
-- KEYS  log
-- ARGV  user · text · optional, '' for none: data (JSON) · key: said once per user and key · at in ms (now) · bounds of
--       the log, `<messages>:<bytes>` (1000:4194304) · ms after which a log that no node holds is forgotten (7 days) ·
--       user: it is bound by the room's rules as well, not by sanctions alone
-- Returns {ID, 'stored'}, or {ID, 'repeated'} if the log already holds the key of that user (then nothing was changed);
--       error AGAIN if more of the log has to be read first than one call reads: the same call again reads on (nothing
--       was stored); error REFUSED while the room's nodes may put back what this Redis lost (nothing was stored: try
--       again; five seconds at most); an error that begins with banned, muted, frozen, notModerator, notParticipant or
--       blocked if a rule or the other one of a direct conversation forbids it
-- Atomic all of it: look-up, append at the log's own epoch (so it never is refused), PUBLISH, always. No log: one
--       begins, and expires unless a node enters. Restarted or failed-over Redis that no node has entered since: a new
--       epoch first, for the log may have lost its tail, and a lost message's position must not be given again.
--
-- The room's other keys are derived from the log's (same hash tag, same slot), so that a person need not type them.

local RETURNS = 5000

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

redis.register_function('martlet_say', function(keys, args)
    local log = keys[1]
    local user, _, data, _, at, maxlen, ttl, obeys = unpack(args, 1, 8)
    at = at and at ~= '' and number(at, 'at') or now()
    local kept = bounds(maxlen and maxlen ~= '' and maxlen or '1000:4194304', 'maxlen')
    ttl = ttl and ttl ~= '' and number(ttl, 'ttl') or 604800000
    channel(log)
    local meta = key_of(log, 'meta')
    local rules, sanctions, audit = rules_keys(log)
    check({'stream', 'hash'}, {log, meta})
    if not user or #user == 0 or #user > 128 or user:find('%c') then
        return {err = 'ERR martlet: user must be 1 to 128 bytes without control characters'}
    end
    if data and data ~= '' and not pcall(cjson.decode, data) then return {err = 'ERR martlet: data is no JSON'} end

    local fields = {'user', user, 'at', int(at)}
    for index, name in ipairs({'text', 'data', 'key'}) do
        local value = args[index + 1]
        if value and value ~= '' then
            fields[#fields + 1] = name
            fields[#fields + 1] = value
        end
    end
    if not field(fields, 'text') and not field(fields, 'data') then
        return {err = 'ERR martlet: nothing to say: text and data are empty'}
    end

    check({'hash', 'hash', 'stream', 'hash'}, {rules, sanctions, audit, (conversation_keys(log))})
    local forbidden = sanction_error(log, user) or obeys == 'user' and rules_error(log, user)
    if forbidden then return {err = forbidden} end

    local id
    if redis.call('EXISTS', log) == 0 then
        id = redis.call('XADD', log, int(now()) .. '-1', unpack(fields))
        redis.call('DEL', index_key(log))
        redis.call('HSET', meta, 'run', run_id())
        local lasts = life(meta, ttl)
        for _, key in ipairs({log, meta, rules, sanctions, audit, conversation_keys(log)}) do
            redis.call('PEXPIRE', key, lasts)
        end
    else
        local room, name = last_id(log), mark(fields)
        if name then
            room.history = read_room(log, key_of(log, 'epochs'), meta, -1).history
            local found = find(log, room, 0, 0, {[name] = true})
            if not found then return again(log) end
            if found[name] then return {found[name][1], 'repeated'} end
        end
        if awaits_returns(log, meta) then
            return {err = 'REFUSED nodes of the room may still put back what this redis lost: try again'}
        end
        local epoch = foreign_epoch(log, room)
        id = redis.call('XADD', log, 'MAXLEN', '~', int(kept.count), int(epoch) .. '-*', unpack(fields))
        -- Only one message in sixteen trims, as reading the size of a long log costs more than a message.
        if (room.seq + 1) % 16 == 0 then trim(log, kept.bytes) end
        -- No node holds the room, so each message extends its life.
        if redis.call('PTTL', log) > 0 then
            local lasts = life(meta, ttl)
            for _, key in ipairs({log, meta, rules, sanctions, audit, conversation_keys(log)}) do
                redis.call('PEXPIRE', key, lasts)
            end
        end
    end
    publish_message(log, id, nil, fields)
    return {id, 'stored'}
end)
