-- A room's rules and sanctions: their version, what they say of a user who is in no room, and the news of an epoch,
-- which names the version. Shared by moderate, enter, view, say and leave, and by all that begin an epoch.
--
-- `rules`: the fields `version`, `slow`, `posting`, `frozen` and `unique`. `sanctions`: `ban:<user>` and `mute:<user>` ->
-- JSON, {"until": ms or "forever", "at": ms, "by": …, "reason": …}, all strings. Every change has a new version, at least
-- the epoch that it begins.

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

-- {version, rules, sanctions}, both hashes flat; false if the caller knows that version.
local function rules_reply(log, known)
    local version = rules_version(log)
    if int(version) == known then return false end
    local rules, sanctions = rules_keys(log)
    return {int(version), redis.call('HGETALL', rules), redis.call('HGETALL', sanctions)}
end

-- When a sanction ends: ms, or 'forever'; nil if the text is no sanction.
local function sanction_end(text)
    local ends = type(text) == 'string' and text:match('^{"until":"(%w+)"')
    return ends and (ends == 'forever' and ends or whole(ends)) or nil
end

-- The error for a user who is banned or muted: '<banned or muted> <until or forever> <reason>'; nil for anybody else.
local function sanction_error(log, user)
    local _, sanctions = rules_keys(log)
    for _, kind in ipairs({'ban', 'mute'}) do
        local text = redis.call('HGET', sanctions, kind .. ':' .. user)
        local ends = sanction_end(text)
        if ends and (ends == 'forever' or ends > now()) then
            local known, sanction = pcall(cjson.decode, text)
            local reason = known and type(sanction) == 'table' and sanction.reason
            return 'ERR martlet: ' .. (kind == 'ban' and 'banned ' or 'muted ') .. (ends == 'forever' and ends or int(ends))
                .. ' ' .. (type(reason) == 'string' and reason or '')
        end
    end
end

-- The error for a user who may not moderate, if the room's rules forbid to send; or nil.
local function rules_error(log)
    local rules = rules_keys(log)
    if redis.call('HGET', rules, 'frozen') == '1' then return 'ERR martlet: frozen' end
    if redis.call('HGET', rules, 'posting') == 'moderators' then return 'ERR martlet: notModerator' end
end

local function publish_epoch(log, nodes, room, by)
    local rules = rules_version(log)
    publish(log, '{"type":"epoch","epoch":"' .. int(room.epoch) .. '","base":"' .. int(room.seq)
        .. '","nodes":' .. json_pairs(redis.call('HGETALL', nodes)) .. ',"by":' .. cjson.encode(by)
        .. (rules > 0 and ',"rules":"' .. int(rules) .. '"' or '') .. '}')
end
