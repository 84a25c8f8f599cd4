#!lua name=martlet
-- The first file of the library: its version, and helpers that all functions share. All files together are one Lua
-- chunk, in the order of their names: cat redis/functions/*.lua | redis-cli -x FUNCTION LOAD REPLACE
--
-- Nodes load the library if Redis has none or an older version. Raise this number with every change of these files: doctor
-- compares a library of the same version byte by byte.
local VERSION = 23

-- The bounds of all numbers, the same as in nodes (PositionBounds in Sources/ChatCore/Model). Numbers in Lua are
-- doubles, so adding 1 beyond 2^53 may change nothing. Epochs are milliseconds, which is far below. No node has begun
-- an epoch ten years ahead of the clock, and a new epoch begins above the one that a node claims to have seen only if
-- that is less than five years ahead. If the clock is before 2020, neither bound applies.
local MAX_NUMBER = 9007199254740992 - 1000000
local AHEAD, CLAIMED_AHEAD, LEAST_CLOCK = 315360000000, 157680000000, 1577836800000

local function int(number)
    return string.format('%.0f', number)
end

-- The text as a whole number within the bounds; nil for anything else.
local function whole(text)
    local value = type(text) == 'string' and text:match('^%d+$') and tonumber(text)
    return value and value <= MAX_NUMBER and value or nil
end

-- An argument as a whole number within the bounds; raises an error that names the argument.
local function number(text, name)
    local value = whole(text)
    if not value then error({err = 'ERR martlet: ' .. name .. ' is no whole number below 2^53'}) end
    return value
end

-- '<epoch>-<seq>' as two numbers within the bounds, or nil.
local function position(text)
    local epoch, seq = (text or ''):match('^(%d+)%-(%d+)$')
    epoch, seq = tonumber(epoch), tonumber(seq)
    if epoch and epoch <= MAX_NUMBER and seq <= MAX_NUMBER then return epoch, seq end
end

-- Whether the left ID is below the right one; '' is below all IDs.
local function is_before(left, right)
    local left_epoch, left_seq = position(left)
    local right_epoch, right_seq = position(right)
    if not left_epoch or not right_epoch then return right_epoch ~= nil end
    return left_epoch < right_epoch or (left_epoch == right_epoch and left_seq < right_seq)
end

-- Never call `unpack(args)` without bounds: the stack of Lua has room for 8,000 values, and a tail or a roster is
-- longer.

-- '<count>:<bytes>' as {count, bytes, paged}: the bounds of a page or of a log. '<count>' has no bound in bytes and is
-- not `paged`; nodes of versions before 9 send that, and cannot ask for the rest of a page.
local function bounds(text, name)
    local count, bytes = (text or ''):match('^(%d+):(%d+)$')
    if not count then return {count = number(text, name), bytes = math.huge, paged = false} end
    return {count = number(count, name), bytes = number(bytes, name), paged = true}
end

-- The bounds of a log: '<count>:<bytes>', or also ':<count>:<bytes>' up to which it is held for those who have not read
-- it: participants, and the sinks whose names follow, ':<sink>,<sink>'. Nodes of versions before 18 hold none.
local function log_bounds(text, name)
    local own, count, bytes, sinks = (text or ''):match('^(%d+:%d+):(%d+):(%d+):?([%w,-]*)$')
    local kept = bounds(own or text, name)
    kept.held = own and {count = number(count, name), bytes = number(bytes, name)}
    kept.sinks = sinks ~= '' and sinks or nil
    return kept
end

-- The clock of Redis, in ms since 1970.
local function now()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- The highest epoch that is at most `ahead` ms ahead of the clock.
local function newest(ahead)
    local clock = now()
    return clock < LEAST_CLOCK and MAX_NUMBER or math.min(MAX_NUMBER, clock + ahead)
end

-- The room's channel: the log's key without ':log'.
local function channel(log)
    if log:sub(-5) ~= '}:log' then
        error({err = 'ERR martlet: the first key is no log: it must end in {room}:log'})
    end
    return log:sub(1, -5)
end

-- Whether this Redis is a node of a Cluster; looked up once after each loading of the library.
local clustered
local function in_cluster()
    if clustered == nil then
        clustered = redis.call('INFO', 'cluster'):find('cluster_enabled:1', 1, true) ~= nil
    end
    return clustered
end

-- In a Cluster PUBLISH goes to every server. SPUBLISH stays with the master of the channel's slot, which is also the
-- room's.
local function publish(log, payload)
    redis.call(in_cluster() and 'SPUBLISH' or 'PUBLISH', channel(log), payload)
end

-- Raises WRONGTYPE with the name of the key unless each key is absent or has its type. Called before anything is
-- written.
local function check(types, keys)
    for index, wanted in ipairs(types) do
        local found = redis.call('TYPE', keys[index]).ok
        if found ~= wanted and found ~= 'none' then
            error({err = 'WRONGTYPE ' .. keys[index] .. ' is a ' .. found .. ', martlet keeps a ' .. wanted .. ' there'})
        end
    end
end

-- The types of a room's keys, in the order in which functions take them: log nodes epochs meta presence roster.
local ROOM_TYPES = {'stream', 'hash', 'list', 'hash', 'stream', 'hash'}

-- Flat fields and values, as Redis returns hashes and entries, as the inside of a JSON object of strings.
local function json_pairs(flat)
    local parts = {}
    for index = 1, #flat, 2 do
        parts[#parts + 1] = cjson.encode(flat[index]) .. ':' .. cjson.encode(flat[index + 1])
    end
    return '{' .. table.concat(parts, ',') .. '}'
end

local function publish_message(log, id, base, fields)
    publish(log, '{"type":"message","position":"' .. id .. '"'
        .. (base and ',"base":"' .. int(base) .. '"' or '') .. ',"entry":' .. json_pairs(fields) .. '}')
end

-- Another key of a room, derived from that of its log: it has the same hash tag and slot.
local function key_of(log, name)
    return log:sub(1, -4) .. name
end

-- The ID of the log's first entry; nil if it has none.
local function first_of(log)
    local entry = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    return entry and entry[1]
end

-- The list in the opposite order.
local function reversed(list)
    local result = {}
    for index = #list, 1, -1 do result[#result + 1] = list[index] end
    return result
end

local function entry_size(fields)
    local size = 0
    for index = 1, #fields do size = size + #fields[index] end
    return size
end
