-- martlet_user: changes what belongs to a user: the index of the user's rooms, whom the user blocks, and the user's stars:
-- FCALL martlet_user 1 'martlet:user:{ana}:rooms' block mallory
--
-- KEYS  rooms (the other keys are derived from it: same hash tag, same slot)
-- ARGV  operation · what it needs:
--       index: room, version, kind, since: the user is a participant of the room since then, as of that version; `since`
--       '': not any more · optional: the other one of that direct conversation
--       drop: room, version: the room's participants, as of that version, are without the user
--       block: user · the most users, '' for 1,000 · unblock: user
--       star: `<room>\n<position>` · the most stars · a copy of the message, JSON · unstar: `<room>\n<position>`
-- Returns {'changed' or 'unchanged', and for index and the other one: 1 if the user blocks that one, 0}; error `full` if
--       there are as many blocked users or stars as there may be
-- Atomic all of it. What is written down by a later version stays: writes of two nodes may come in any order.

-- The version with which a room is written down; 0 if it is not, or if that is none of ours.
local function indexed_version(rooms, room)
    local text = redis.call('HGET', rooms, room)
    return whole(text and text:match('"version":"(%d+)"')) or 0
end

-- Stars have an order: each is starred later than the one before, if only by a millisecond.
local function add_star(stars, starred, name, most, copy)
    if not pcall(cjson.decode, copy or '') then return {err = 'ERR martlet: the copy is no JSON'} end
    if redis.call('HEXISTS', stars, name) == 1 then return false end
    if redis.call('HLEN', stars) >= most then return {err = 'ERR martlet: full'} end
    local newest = redis.call('ZRANGE', starred, '-1', '-1', 'WITHSCORES')[2]
    redis.call('ZADD', starred, int(math.max(now(), (tonumber(newest) or 0) + 1)), name)
    redis.call('HSET', stars, name, copy)
    return true
end

local function index_room(rooms, blocked, args)
    local _, room, version, kind, since, partner = unpack(args, 1, 6)
    version = number(version, 'version')
    if kind ~= 'direct' and kind ~= 'group' then return {err = 'ERR martlet: the kind is direct or group'} end
    local old, changed = indexed_version(rooms, room), false
    if since == '' then
        changed = old < version and redis.call('HDEL', rooms, room) == 1
    elseif old < version then
        redis.call('HSET', rooms, room, '{"kind":"' .. kind .. '","since":"' .. int(number(since, 'since'))
            .. '","version":"' .. int(version) .. '"}')
        changed = true
    end
    return {changed and 'changed' or 'unchanged', partner and redis.call('SISMEMBER', blocked, partner) or 0}
end

redis.register_function('martlet_user', function(keys, args)
    local rooms, operation = keys[1], args[1]
    local blocked, stars, starred = user_keys(rooms)
    check({'hash', 'set', 'hash', 'zset'}, {rooms, blocked, stars, starred})
    local name = args[2] or ''
    if operation == 'star' or operation == 'unstar' then
        if not name:match('^[^%c]+\n%d+%-%d+$') or #name > 192 then
            return {err = 'ERR martlet: a star is a room, a line feed and a position'}
        end
    elseif #name == 0 or #name > 128 or name:find('%c') then
        return {err = 'ERR martlet: a name must be 1 to 128 bytes without control characters'}
    end
    local changed
    if operation == 'index' then
        return index_room(rooms, blocked, args)
    elseif operation == 'drop' then
        changed = indexed_version(rooms, name) <= number(args[3], 'version') and redis.call('HDEL', rooms, name) == 1
    elseif operation == 'block' then
        local most = (args[3] or '') ~= '' and number(args[3], 'the most users') or 1000
        if redis.call('SISMEMBER', blocked, name) == 0 and redis.call('SCARD', blocked) >= most then
            return {err = 'ERR martlet: full'}
        end
        changed = redis.call('SADD', blocked, name) == 1
    elseif operation == 'unblock' then
        changed = redis.call('SREM', blocked, name) == 1
    elseif operation == 'star' then
        changed = add_star(stars, starred, name, number(args[3], 'the most stars'), args[4])
        if type(changed) == 'table' then return changed end
    elseif operation == 'unstar' then
        redis.call('ZREM', starred, name)
        changed = redis.call('HDEL', stars, name) == 1
    else
        return {err = 'ERR martlet: the operation is none of index drop block unblock star unstar'}
    end
    return {changed and 'changed' or 'unchanged', 0}
end)
