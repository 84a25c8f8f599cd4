-- A room's rules, sanctions and participants: their version, what they say of a user who is in no room, and the news of
-- an epoch, which names the version. Shared by moderate, participants, enter, view, say and leave, and by all that begin
-- an epoch.
--
-- `rules`: the fields `version`, `slow`, `posting`, `frozen`, `unique` and `members`. `sanctions`: `ban:<user>` and
-- `mute:<user>` -> JSON, {"until": ms or "forever", "at": ms, "by": …, "reason": …}, all strings. Every change has a new
-- version, at least the epoch that it begins. `participants`: user -> JSON, {"role": …, "since": ms, "notify": …}, in a
-- direct conversation perhaps with "blocks": "1", all strings. `pending`: user -> version of the change that the user's
-- index of rooms may lack. `meta` has `kind` (direct or group) if the room has, or had, participants.

local RULES_TYPES = {'hash', 'hash'}
local MOST_SANCTIONS, MOST_REASON, LONGEST_RULE = 1000, 200, 86400000

-- The keys that belong to a room's rules: rules, sanctions, audit.
local function rules_keys(log)
    return key_of(log, 'rules'), key_of(log, 'sanctions'), key_of(log, 'audit')
end

-- The version of the room's rules; 0 if it was never moderated, or if the field is not a version.
local function rules_version(log)
    local version = whole(redis.pcall('HGET', key_of(log, 'rules'), 'version'))
    return version and version <= newest(AHEAD) and version or 0
end

-- What is added to the rules that nodes read, for a room with participants: `kind`, `amendments` (`ops` of meta), and the
-- fields `participant:<user>`, `pending:<user>` and `read:<user>` (see 06-reads); of one user only, if it is named. Nodes
-- of earlier versions ignore them. A key of a foreign type counts as empty, as some callers have written something
-- before.
local function add_participants(log, flat, user)
    local kind = redis.pcall('HGET', key_of(log, 'meta'), 'kind')
    if type(kind) ~= 'string' then return flat end
    flat[#flat + 1], flat[#flat + 2] = 'kind', kind
    local ops = redis.pcall('HGET', key_of(log, 'meta'), 'ops')
    flat[#flat + 1], flat[#flat + 2] = 'amendments', type(ops) == 'string' and ops or '0'
    for name, prefix in pairs({participants = 'participant:', pending = 'pending:', reads = 'read:'}) do
        local key = key_of(log, name)
        local text = user and redis.pcall('HGET', key, user)
        local found = user and {user, text} or redis.pcall('HGETALL', key)
        if not found.err and not (user and type(text) ~= 'string') then
            for index = 1, #found, 2 do
                flat[#flat + 1], flat[#flat + 2] = prefix .. found[index], found[index + 1]
            end
        end
    end
    return flat
end

-- {version, rules, sanctions}, both hashes flat; false if the caller knows that version.
local function rules_reply(log, known)
    local version = rules_version(log)
    if int(version) == known then return false end
    local rules, sanctions = rules_keys(log)
    return {int(version), add_participants(log, redis.call('HGETALL', rules)), redis.call('HGETALL', sanctions)}
end

-- When a sanction ends: ms, or 'forever'; nil if the text is no sanction.
local function sanction_end(text)
    local ends = type(text) == 'string' and text:match('^{"until":"(%w+)"')
    return ends and (ends == 'forever' and ends or whole(ends)) or nil
end

-- When the user's sanction of that kind ends, and its text; nil if there is none in force.
local function sanction_until(log, kind, user)
    local _, sanctions = rules_keys(log)
    local text = redis.call('HGET', sanctions, kind .. ':' .. user)
    local ends = sanction_end(text)
    if ends and (ends == 'forever' or ends > now()) then return ends, text end
end

-- The error for a user who is banned or muted: '<banned or muted> <until or forever> <reason>'; nil for anybody else.
local function sanction_error(log, user)
    for _, kind in ipairs({'ban', 'mute'}) do
        local ends, text = sanction_until(log, kind, user)
        if ends then
            local known, sanction = pcall(cjson.decode, text)
            local reason = known and type(sanction) == 'table' and sanction.reason
            return 'ERR martlet: ' .. (kind == 'ban' and 'banned ' or 'muted ') .. (ends == 'forever' and ends or int(ends))
                .. ' ' .. (type(reason) == 'string' and reason or '')
        end
    end
end

local ROLES = {member = 1, moderator = 2, owner = 3}

-- A participant: {role, since, notify, blocks}; nil if there is none. What is none of ours counts as a member.
local function read_participant(text)
    if type(text) ~= 'string' then return nil end
    local role, since, notify, rest = text:match('^{"role":"(%a+)","since":"(%d+)","notify":"(%a+)"(.*)}$')
    local known = ROLES[role] and whole(since)
    return {role = known and role or 'member', since = known and since or '0', notify = known and notify or 'all',
        blocks = rest == ',"blocks":"1"'}
end

-- Whether the name of the room is that of a direct conversation, which only the two users may enter.
local function is_direct(log)
    return log:find('{dm:', 1, true) ~= nil
end

-- The error for a user who may not moderate, if the room's rules or its participants forbid to send; or nil.
local function rules_error(log, user)
    local rules, participants = rules_keys(log), key_of(log, 'participants')
    local participant = read_participant(redis.call('HGET', participants, user))
    local direct = is_direct(log)
    if redis.call('HGET', rules, 'members') == 'nobody' then return 'ERR martlet: frozen' end
    if not participant and (direct or redis.call('HGET', rules, 'members') == 'participants') then
        return 'ERR martlet: notParticipant'
    end
    if direct then
        local flat = redis.call('HGETALL', participants)
        for index = 1, #flat, 2 do
            if flat[index] ~= user and read_participant(flat[index + 1]).blocks then return 'ERR martlet: blocked' end
        end
    end
    if participant and ROLES[participant.role] > 1 then return nil end
    if redis.call('HGET', rules, 'frozen') == '1' then return 'ERR martlet: frozen' end
    if redis.call('HGET', rules, 'posting') == 'moderators' then return 'ERR martlet: notModerator' end
end

-- The keys of a room that belong to its participants: participants, reads, pending.
local function conversation_keys(log)
    return key_of(log, 'participants'), key_of(log, 'reads'), key_of(log, 'pending')
end

-- The keys that live as long as the log, whatever a call is about.
local function attached_keys(log)
    local keys = {rules_keys(log)}
    for _, key in ipairs({conversation_keys(log)}) do keys[#keys + 1] = key end
    keys[#keys + 1], keys[#keys + 2] = key_of(log, 'overlay'), key_of(log, 'amendments')
    return keys
end

-- {user, version, since or '', …}: whose indexes are not known to be written.
local function pending_reply(log)
    local flat, reply = redis.call('HGETALL', key_of(log, 'pending')), {}
    for index = 1, #flat, 2 do
        local participant = read_participant(redis.call('HGET', key_of(log, 'participants'), flat[index]))
        reply[#reply + 1], reply[#reply + 2] = flat[index], flat[index + 1]
        reply[#reply + 1] = participant and participant.since or ''
    end
    return reply
end

-- For how long a room outlives its last node, in ms: `ttl`, or what the last change of its participants said.
local function life(meta, ttl)
    local keep = whole(redis.call('HGET', meta, 'keep'))
    return int(keep and math.max(keep, tonumber(ttl)) or tonumber(ttl))
end

-- No node holds the room: these keys, and the attached ones, expire.
local function expire_room(log, meta, ttl, keys)
    local lasts = life(meta, ttl)
    for _, key in ipairs(keys) do redis.call('PEXPIRE', key, lasts) end
    for _, key in ipairs(attached_keys(log)) do redis.call('PEXPIRE', key, lasts) end
end

local function publish_epoch(log, nodes, room, by)
    local rules = rules_version(log)
    publish(log, '{"type":"epoch","epoch":"' .. int(room.epoch) .. '","base":"' .. int(room.seq)
        .. '","nodes":' .. json_pairs(redis.call('HGETALL', nodes)) .. ',"by":' .. cjson.encode(by)
        .. (rules > 0 and ',"rules":"' .. int(rules) .. '"' or '') .. '}')
end

-- The other keys of a user, derived from that of the index of rooms: blocked, stars, starred.
local function user_keys(rooms)
    if rooms:sub(-7) ~= '}:rooms' then
        error({err = 'ERR martlet: the first key is no index of rooms: it must end in {user}:rooms'})
    end
    return rooms:sub(1, -6) .. 'blocked', rooms:sub(1, -6) .. 'stars', rooms:sub(1, -6) .. 'starred'
end
