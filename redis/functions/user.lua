-- martlet_user: changes what belongs to a user: the index of the user's rooms, and whom the user blocks:
-- FCALL martlet_user 1 'martlet:user:{ana}:rooms' block mallory
--
-- KEYS  rooms (the other keys are derived from it: same hash tag, same slot)
-- ARGV  operation · what it needs:
--       index: room, version, kind, since: the user is a participant of the room since then, as of that version; `since`
--       '': not any more · optional: the other one of that direct conversation
--       drop: room, version: the room's participants, as of that version, are without the user
--       block: user · the most users, '' for 1,000 · unblock: user
-- Returns {'changed' or 'unchanged', and for index and the other one: 1 if the user blocks that one, 0}; error `full` if
--       as many are blocked as there may be
-- Atomic all of it. What is written down by a later version stays: writes of two nodes may come in any order.

-- The version with which a room is written down; 0 if it is not, or if that is none of ours.
local function indexed_version(rooms, room)
    local text = redis.call('HGET', rooms, room)
    return whole(text and text:match('"version":"(%d+)"')) or 0
end

local function user_keys(rooms)
    if rooms:sub(-7) ~= '}:rooms' then
        error({err = 'ERR martlet: the first key is no index of rooms: it must end in {user}:rooms'})
    end
    return rooms:sub(1, -6) .. 'blocked', rooms:sub(1, -6) .. 'stars'
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
    local blocked = user_keys(rooms)
    check({'hash', 'set'}, {rooms, blocked})
    local name = args[2] or ''
    if #name == 0 or #name > 128 or name:find('%c') then
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
    else
        return {err = 'ERR martlet: the operation is none of index drop block unblock'}
    end
    return {changed and 'changed' or 'unchanged', 0}
end)
