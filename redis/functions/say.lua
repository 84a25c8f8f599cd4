-- martlet_say: a message from somebody who is in no room, a program or a person:
-- FCALL martlet_say 1 'martlet:{lobby}:log' bot 'hello'
--
-- KEYS  log
-- ARGV  user · text · optional, '' for none: data (JSON) · key: said once per user and key · at in ms (now) · bound of
--       the log (1000) · ms after which a log that no node holds is forgotten (7 days)
-- Returns {ID, 'stored'}, or {ID, 'repeated'} if the log already holds the key of that user (then nothing was changed)
-- Atomic all of it: look-up, append at the log's own epoch (so it never is refused), PUBLISH, always. No log: one
--       begins, and expires unless a node enters. Restarted or failed-over Redis that no node has entered since: a new
--       epoch first, for the log may have lost its tail, and a lost message's position must not be given again.
--
-- The room's other keys are derived from the log's (same hash tag, same slot), so that a person need not type them.

-- Begins an epoch if this is not the Redis that the room last met; returns the epoch.
local function foreign_epoch(log, room)
    local epochs, meta, nodes = log:sub(1, -4) .. 'epochs', log:sub(1, -4) .. 'meta', log:sub(1, -4) .. 'nodes'
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
    local user, _, data, _, at, maxlen, ttl = unpack(args, 1, 7)
    at = at and at ~= '' and number(at, 'at') or now()
    maxlen = maxlen and maxlen ~= '' and number(maxlen, 'maxlen') or 1000
    ttl = ttl and ttl ~= '' and number(ttl, 'ttl') or 604800000
    channel(log)
    local meta = log:sub(1, -4) .. 'meta'
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

    local id
    if redis.call('EXISTS', log) == 0 then
        id = redis.call('XADD', log, int(now()) .. '-1', unpack(fields))
        redis.call('HSET', meta, 'run', run_id())
        redis.call('PEXPIRE', log, int(ttl))
        redis.call('PEXPIRE', meta, int(ttl))
    else
        local room = last_id(log)
        local name = mark(fields)
        local earlier = name and find(log, 0, {[name] = true})[name]
        if earlier then return {earlier[1], 'repeated'} end
        id = redis.call('XADD', log, 'MAXLEN', '~', int(maxlen), int(foreign_epoch(log, room)) .. '-*', unpack(fields))
        -- Nobody holds the room: what is said keeps it.
        if redis.call('PTTL', log) > 0 then
            redis.call('PEXPIRE', log, int(ttl))
            redis.call('PEXPIRE', meta, int(ttl))
        end
    end
    publish_message(log, id, nil, fields)
    return {id, 'stored'}
end)
