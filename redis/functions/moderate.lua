-- martlet_moderate: changes the rules of a room, or a user's sanctions in it:
-- FCALL martlet_moderate 1 'martlet:{lobby}:log' ban mallory 3600000 'spam' ana
--
-- KEYS  log
-- ARGV  operation · user, '' if it concerns none · value, '' for the default · reason, at most 200 bytes · who orders it
--       · ms after which a room that no node holds is forgotten (7 days). The operations:
--       ban, mute: the user, for that many ms (for ever) · unban, unmute: the user
--       kick: bans the user for that many ms (60,000), unless a ban lasts longer already
--       slow: ms between two messages of a user, 0 for none · unique: ms in which a message may not be repeated
--       posting: open or moderators · freeze, thaw · members: everybody, participants or nobody (the
--       room is being closed), who may enter and send
-- Returns {version of the rules, 'changed'}; {version, 'unchanged'} if they were as wanted (then nothing was changed)
-- Atomic all of it: the change; an entry in the audit stream; a new epoch, so that Redis refuses every append that was
--       decided by the rules before, and its PUBLISH. Nodes read the rules before they append in the new epoch. So what
--       the rules forbid is not stored any more once the caller has the answer. No log: whoever enters reads them.

local KICK_TIME = 60000

-- Removes the sanctions that have ended.
local function drop_ended(sanctions, clock)
    local flat = redis.call('HGETALL', sanctions)
    for index = 1, #flat, 2 do
        local ends = sanction_end(flat[index + 1])
        if ends and ends ~= 'forever' and ends <= clock then redis.call('HDEL', sanctions, flat[index]) end
    end
end

local function is_text(text, most)
    return #text <= most and not text:find('%c')
end

-- The field and the value of each rule: the operation -> {field, value that is set, value of a room without rules}.
local function rule(operation, value)
    if operation == 'slow' or operation == 'unique' then
        local time = value ~= '' and number(value, 'value') or 0
        if time > LONGEST_RULE then error({err = 'ERR martlet: the time is longer than a day'}) end
        return operation, int(time), '0'
    elseif operation == 'posting' then
        if value ~= 'open' and value ~= 'moderators' then
            error({err = 'ERR martlet: posting is open or moderators'})
        end
        return 'posting', value, 'open'
    elseif operation == 'members' then
        if value ~= 'everybody' and value ~= 'participants' and value ~= 'nobody' then
            error({err = 'ERR martlet: members is everybody, participants or nobody'})
        end
        return 'members', value, 'everybody'
    elseif operation == 'freeze' or operation == 'thaw' then
        return 'frozen', operation == 'freeze' and '1' or '0', '0'
    end
end

redis.register_function('martlet_moderate', function(keys, args)
    local log = keys[1]
    local operation, user, value, reason, by, ttl = unpack(args, 1, 6)
    operation, user, value, reason, by = operation or '', user or '', value or '', reason or '', by or ''
    ttl = int(ttl and ttl ~= '' and number(ttl, 'ttl') or 604800000)
    channel(log)
    local nodes, epochs, meta = key_of(log, 'nodes'), key_of(log, 'epochs'), key_of(log, 'meta')
    local rules, sanctions, audit = rules_keys(log)
    check({'stream', 'hash', 'list', 'hash', 'hash', 'hash', 'stream'},
        {log, nodes, epochs, meta, rules, sanctions, audit})
    if not is_text(reason, MOST_REASON) or not is_text(by, 128) then
        return {err = 'ERR martlet: reason and who orders it must be at most 200 and 128 bytes without control characters'}
    end
    local kicks = operation == 'kick'
    local kind = kicks and 'ban' or operation:match('^u?n?(ban)$') or operation:match('^u?n?(mute)$')
    local lifts = kind and operation == 'un' .. kind
    local time = kicks and KICK_TIME or nil
    if kind and not lifts and value ~= '' then time = number(value, 'value') end
    local name, wanted, default = rule(operation, value)
    if kind and operation ~= kind and not lifts and not kicks or not kind and not name then
        return {err = 'ERR martlet: the operation is none of ban kick unban mute unmute slow unique posting members freeze thaw'}
    end
    if kind and (#user == 0 or not is_text(user, 128)) then
        return {err = 'ERR martlet: user must be 1 to 128 bytes without control characters'}
    end
    if time == 0 then return {err = 'ERR martlet: value is 0: nobody is sanctioned for no time'} end

    local exists, clock, old = redis.call('EXISTS', log) == 1, now(), rules_version(log)
    local room = exists and read_room(log, epochs, meta, -1)
    local field = kind and kind .. ':' .. user
    local earlier = kicks and sanction_end(redis.call('HGET', sanctions, field))
    if earlier and (earlier == 'forever' or earlier >= clock + time) then return {int(old), 'unchanged'} end
    if lifts and redis.call('HEXISTS', sanctions, field) == 0
        or name and (redis.call('HGET', rules, name) or default) == wanted then
        return {int(old), 'unchanged'}
    end
    if kind and not lifts and redis.call('HEXISTS', sanctions, field) == 0
        and redis.call('HLEN', sanctions) >= MOST_SANCTIONS then
        drop_ended(sanctions, clock)
        if redis.call('HLEN', sanctions) >= MOST_SANCTIONS then
            return {err = 'ERR martlet: the room has 1000 sanctions already'}
        end
    end

    if lifts then
        redis.call('HDEL', sanctions, field)
    elseif kind then
        local ends = time and int(math.min(MAX_NUMBER, clock + time)) or 'forever'
        redis.call('HSET', sanctions, field, '{"until":"' .. ends .. '","at":"' .. int(clock) .. '","by":'
            .. cjson.encode(by) .. ',"reason":' .. cjson.encode(reason) .. '}')
    else
        redis.call('HSET', rules, name, wanted)
    end
    local version = math.max(clock, old + 1)
    if exists then
        local foreign = jump(meta)
        raise(log, epochs, meta, room, math.max(clock, room.epoch + (foreign or 1)))
        if foreign then meet(meta, foreign, room.epoch) end
        version = math.max(room.epoch, old + 1)
    end
    redis.call('HSET', rules, 'version', int(version))
    redis.call('XADD', audit, 'MAXLEN', '~', '1000', '*', 'operation', operation, 'user', user, 'value', value,
        'reason', reason, 'by', by, 'version', int(version))
    -- No node holds the room, so it lives as long as after a message from outside.
    if not exists or redis.call('PTTL', log) > 0 then
        expire_room(log, meta, ttl, {log, epochs, meta})
    end
    if exists then publish_epoch(log, nodes, room, 'moderate') end
    return {int(version), 'changed'}
end)
