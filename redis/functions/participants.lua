-- martlet_participants: changes who belongs to a room:
-- FCALL martlet_participants 1 'martlet:{team}:log' create ana '' '' '' ben cleo
--
-- KEYS  log
-- ARGV  operation · who orders it, '' for nobody who could be a participant · any: that is allowed whatever the role; or
--       '' · the most participants, '' for 100 · ms for which the room outlives its last node, '' for as before, or 90
--       days · then what the operation needs:
--       direct: the two users; the room has to be their direct conversation
--       create: users; who orders it is the owner, or else the first of them; only participants may enter from now on
--       invite: users · leave · remove: user · role: user, member or moderator or owner
--       notify: all or mentions or none · block, unblock: the other one of this direct conversation
--       indexed: user, version, user, version, …: their indexes of rooms say what they have to as of these versions
-- Returns {version of the participants, 'changed', kind, {user, `added` or `removed` or `changed`, …}, {user, version,
--       since or '', …}}: the last are the users whose indexes of rooms are not known to be written, '' for who is no
--       participant any more. {version, 'unchanged', …} if all was as wanted, or of the kind '' if there is nobody. An
--       error of one word if it is refused: notParticipant, notAllowed, noConversation, taken, full, isDirect, notDirect,
--       absent, lastOwner (then nothing was changed)
-- Atomic all of it: the change, within the limit; read positions of new participants at the end of the log, and none of
--       those who have left; `pending`, by which nodes know what the indexes of users lack; an entry in the audit
--       stream; a new epoch and its PUBLISH, as in moderate, unless only `notify` was changed. No log: whoever enters
--       reads the participants.

do -- A chunk has room for 200 locals, so those of this file end with it.

local MOST_USERS, KEEP = 1000, 7776000000
local LEVELS = {all = true, mentions = true, none = true}

local function participant_text(participant)
    return '{"role":"' .. participant.role .. '","since":"' .. participant.since .. '","notify":"' .. participant.notify
        .. '"' .. (participant.blocks and ',"blocks":"1"' or '') .. '}'
end

-- Whether a text is before another one, byte by byte: `<` would ask the locale.
local function is_below(left, right)
    for index = 1, math.min(#left, #right) do
        local a, b = left:byte(index), right:byte(index)
        if a ~= b then return a < b end
    end
    return #left < #right
end

local function escaped(name)
    return (name:gsub('[^0-9A-Za-z%-%._~]', function(byte) return ('%%%02X'):format(byte:byte()) end))
end

-- Whether the log is that of the direct conversation of these users. Of long names the room has a digest, which only
-- nodes can compute.
local function is_direct_of(log, one, other)
    local left, right = escaped(one), escaped(other)
    if is_below(right, left) then left, right = right, left end
    local name, room = 'dm:' .. left .. ':' .. right, log:match('{(.*)}:log$')
    if #name > 128 then return room:match('^dm:%x+$') ~= nil and #room == 67 end
    return room == name
end

-- The oldest participant with that role, by time and name; nil if there is none.
local function oldest(all, role)
    local found
    for user, participant in pairs(all) do
        if participant.role == role then
            local since, before = tonumber(participant.since), found and tonumber(all[found].since)
            if not found or since < before or since == before and is_below(user, found) then found = user end
        end
    end
    return found
end

local function count_of(all)
    local count = 0
    for _ in pairs(all) do count = count + 1 end
    return count
end

-- A group needs an owner as long as it has participants.
local function hand_over(state)
    if state.kind == 'direct' or oldest(state.all, 'owner') then return end
    local heir = oldest(state.all, 'moderator') or oldest(state.all, 'member')
    if heir then state.put(heir, 'role', 'owner') end
end

-- Adds those of the users who are no participants yet; 'full' if there would be more than the limit.
local function add_all(state, users, first_role)
    local count, new = count_of(state.all), {}
    for _, user in ipairs(users) do
        if not state.all[user] and not new[user] then
            new[user], count = true, count + 1
        end
    end
    if count > state.limit and next(new) then return 'full' end
    for index, user in ipairs(users) do
        if not state.all[user] then state.add(user, index == 1 and first_role or 'member') end
    end
end

-- Whether who orders it may do that to the participant.
local function may(state, least, target)
    if state.any then return true end
    local own, role = ROLES[state.own.role], target and ROLES[target.role] or 0
    return own == ROLES.owner or own >= ROLES[least] and own > role
end

-- The operations. Each returns the word of its refusal, or nil.
local OPERATIONS = {}

function OPERATIONS.direct(state, users)
    if #users ~= 2 or users[1] == users[2] or not is_direct_of(state.log, users[1], users[2]) then return 'notDirect' end
    if not state.any and state.by ~= users[1] and state.by ~= users[2] then return 'notParticipant' end
    state.kind = 'direct'
    for _, user in ipairs(users) do
        if not state.all[user] then state.add(user, 'member') end
    end
end

function OPERATIONS.create(state, users)
    if is_direct(state.log) then return 'isDirect' end
    if state.by ~= '' then table.insert(users, 1, state.by) end
    if #users == 0 then return 'absent' end
    if state.kind then
        -- The same order again changes nothing. Whoever was removed meanwhile does not come back by it.
        local own = state.all[state.by]
        if not (own and own.role == 'owner') and not state.any then return 'taken' end
        for _, user in ipairs(users) do
            if not state.all[user] then return 'taken' end
        end
        return nil
    end
    if not state.any and state.in_use() then return 'taken' end
    state.kind = 'group'
    return add_all(state, users, 'owner')
end

function OPERATIONS.invite(state, users)
    if state.kind == 'direct' then return 'isDirect' end
    if not may(state, 'moderator') then return 'notAllowed' end
    return add_all(state, users)
end

function OPERATIONS.leave(state)
    if not state.all[state.by] then return nil end
    state.drop(state.by)
    hand_over(state)
end

function OPERATIONS.remove(state, users)
    local user = users[1] or ''
    if state.kind == 'direct' then return 'isDirect' end
    if not may(state, 'moderator', state.all[user]) then return 'notAllowed' end
    if not state.all[user] then return nil end
    state.drop(user)
    hand_over(state)
end

function OPERATIONS.role(state, values)
    local user, role = values[1] or '', values[2] or ''
    local target = state.all[user]
    if not ROLES[role] then return 'ERR martlet: the role is member, moderator or owner' end
    if state.kind == 'direct' then return 'isDirect' end
    if not may(state, 'owner') then return 'notAllowed' end
    if not target then return 'absent' end
    if target.role == role then return nil end
    if target.role == 'owner' then
        state.all[user] = nil
        local other = oldest(state.all, 'owner')
        state.all[user] = target
        if not other then return 'lastOwner' end
    end
    state.put(user, 'role', role)
end

function OPERATIONS.notify(state, values)
    local level = values[1] or ''
    if not LEVELS[level] then return 'ERR martlet: the level is all, mentions or none' end
    if not state.all[state.by] then return 'notParticipant' end
    if state.all[state.by].notify ~= level then
        state.put(state.by, 'notify', level)
        state.quiet = true
    end
end

local function set_blocks(state, blocks)
    if state.kind ~= 'direct' then return 'notDirect' end
    local own = state.all[state.by]
    if own and own.blocks ~= blocks then state.put(state.by, 'blocks', blocks) end
end

function OPERATIONS.block(state) return set_blocks(state, true) end

function OPERATIONS.unblock(state) return set_blocks(state, false) end

-- Of these it does not matter whether who orders them is a participant.
local FOR_ANYBODY = {direct = true, create = true, leave = true, block = true, unblock = true}

-- The participants as they are, and what the operations do with them.
local function conversation_state(log, args)
    local state = {log = log, by = args[2] or '', any = args[3] == 'any', all = {}, changes = {}}
    state.limit = (args[4] or '') ~= '' and number(args[4], 'limit') or 100
    state.kind = redis.call('HGET', key_of(log, 'meta'), 'kind') or nil
    local flat = redis.call('HGETALL', key_of(log, 'participants'))
    for index = 1, #flat, 2 do state.all[flat[index]] = read_participant(flat[index + 1]) end
    state.own = state.all[state.by]
    local clock = int(now())
    function state.add(user, role)
        state.all[user] = {role = role, since = clock, notify = 'all', blocks = false}
        state.changes[user] = 'added'
    end
    function state.drop(user)
        state.all[user] = nil
        state.changes[user] = 'removed'
    end
    function state.put(user, field, value)
        state.all[user][field] = value
        state.changes[user] = state.changes[user] or 'changed'
    end
    -- Somebody else is in the room, or it has messages or rules: making it a group would shut them out.
    function state.in_use()
        if rules_version(log) > 0 then return true end
        local room = redis.call('EXISTS', log) == 1 and last_id(log)
        if room and room.seq > 0 then return true end
        local roster = redis.call('HLEN', key_of(log, 'roster'))
        return roster - redis.call('HEXISTS', key_of(log, 'roster'), state.by) > 0
    end
    return state
end

-- The read position of who becomes a participant now: the end of the log, and the amendments up to it.
local function end_mark(room, meta)
    if not room or room.seq == 0 then return '0-0.0' end
    local epoch, seq = position(room.newest)
    local ops = whole(redis.call('HGET', meta, 'ops')) or 0
    return int(seq == room.seq and epoch or room.epoch) .. '-' .. int(room.seq) .. '.' .. int(ops)
end

local function write_participants(state, mark, version)
    local participants, reads, pending = conversation_keys(state.log)
    for user, change in pairs(state.changes) do
        if change == 'removed' then
            redis.call('HDEL', participants, user)
            redis.call('HDEL', reads, user)
        else
            redis.call('HSET', participants, user, participant_text(state.all[user]))
        end
        if change == 'added' then redis.call('HSET', reads, user, mark) end
        if change ~= 'changed' then redis.call('HSET', pending, user, int(version)) end
    end
end

redis.register_function('martlet_participants', function(keys, args)
    local log, operation = keys[1], args[1] or ''
    channel(log)
    local nodes, epochs, meta = key_of(log, 'nodes'), key_of(log, 'epochs'), key_of(log, 'meta')
    local roster = key_of(log, 'roster')
    local rules, sanctions, audit = rules_keys(log)
    local participants, reads, pending = conversation_keys(log)
    check({'stream', 'hash', 'list', 'hash', 'hash', 'hash', 'hash', 'stream', 'hash', 'hash', 'hash'},
        {log, nodes, epochs, meta, roster, rules, sanctions, audit, participants, reads, pending})
    local words = {}
    if #args > 5 + 2 * MOST_USERS then return {err = 'ERR martlet: more than 1000 users'} end
    for index = 6, #args do
        if #args[index] == 0 or #args[index] > 128 or args[index]:find('%c') then
            return {err = 'ERR martlet: a user must be 1 to 128 bytes without control characters'}
        end
        words[#words + 1] = args[index]
    end
    local keep = (args[5] or '') ~= '' and number(args[5], 'ms for which the room is kept')
        or whole(redis.call('HGET', meta, 'keep')) or KEEP
    local state = conversation_state(log, args)
    if #state.by > 128 or state.by:find('%c') then
        return {err = 'ERR martlet: who orders it must be at most 128 bytes without control characters'}
    end
    local version = whole(redis.call('HGET', meta, 'participants')) or 0

    if operation == 'indexed' then
        for index = 1, #words - 1, 2 do
            if redis.call('HGET', pending, words[index]) == words[index + 1] then
                redis.call('HDEL', pending, words[index])
            end
        end
        return {int(version), 'unchanged', state.kind or '', {}, pending_reply(log)}
    end
    local change = OPERATIONS[operation]
    if not change then
        return {err = 'ERR martlet: the operation is none of direct create invite leave remove role notify block unblock '
            .. 'indexed'}
    end
    if not state.kind and (operation == 'leave' or operation == 'block' or operation == 'unblock') then
        return {'0', 'unchanged', '', {}, {}}
    end
    local refused
    if not FOR_ANYBODY[operation] then
        refused = not state.kind and (state.any and 'noConversation' or 'notParticipant')
            or not state.own and (not state.any or operation == 'notify') and 'notParticipant'
    end
    refused = refused or change(state, words)
    if refused then return {err = refused:sub(1, 4) == 'ERR ' and refused or 'ERR martlet: ' .. refused} end
    if not next(state.changes) then
        return {int(version), 'unchanged', state.kind or '', {}, pending_reply(log)}
    end

    local exists, clock, old = redis.call('EXISTS', log) == 1, now(), rules_version(log)
    local room = exists and read_room(log, epochs, meta, -1)
    local mark = end_mark(room, meta)
    redis.call('HSET', meta, 'kind', state.kind, 'keep', int(keep))
    if operation == 'create' then redis.call('HSET', rules, 'members', 'participants') end
    if not state.quiet then
        local newest_version = math.max(clock, old + 1)
        if room then
            local foreign = jump(meta)
            raise(log, epochs, meta, room, math.max(clock, room.epoch + (foreign or 1)))
            if foreign then meet(meta, foreign, room.epoch) end
            newest_version = math.max(room.epoch, old + 1)
        end
        version = math.max(newest_version, version + 1)
        redis.call('HSET', rules, 'version', int(newest_version))
        redis.call('HSET', meta, 'participants', int(version))
    end
    write_participants(state, mark, version)
    local changed = {}
    for user, what in pairs(state.changes) do changed[#changed + 1], changed[#changed + 2] = user, what end
    if not state.quiet then
        for index = 1, #changed, 2 do
            redis.call('XADD', audit, 'MAXLEN', '~', '1000', '*', 'operation', operation, 'user', changed[index],
                'value', changed[index + 1], 'reason', '', 'by', state.by, 'version', int(version),
                'role', (state.all[changed[index]] or {}).role or '')
        end
    end
    -- No node holds the room, so it lives as long as a room with participants does.
    if not exists or redis.call('PTTL', log) > 0 then
        expire_room(log, meta, 0, {log, epochs, meta})
    end
    if room and not state.quiet then publish_epoch(log, nodes, room, 'participants') end
    return {int(version), 'changed', state.kind, changed, pending_reply(log)}
end)

end
