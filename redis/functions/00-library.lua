#!lua name=martlet
-- The library's first file: its version, and what all its functions share. All files are one Lua chunk, in the order of
-- their names: cat redis/functions/*.lua | redis-cli -x FUNCTION LOAD REPLACE
--
-- Nodes load the library when Redis has none or an older version. Raise this number with every change.
local VERSION = 10

-- The bounds of all numbers, the same as the nodes' (PositionBounds in Sources/ChatCore/Model). Numbers in Lua are doubles: beyond
-- 2^53 + 1 may change nothing. Epochs are milliseconds, far below: one ten years ahead of the clock was never begun, and a new one
-- begins above what a node claims to have seen only if that is less than five years ahead. (A clock before 2020 judges nothing.)
local MAX_NUMBER = 9007199254740992 - 1000000
local AHEAD, CLAIMED_AHEAD, LEAST_CLOCK = 315360000000, 157680000000, 1577836800000

local function int(number)
    return string.format('%.0f', number)
end

-- A whole number within the bounds from what Redis holds; nil for anything else.
local function whole(text)
    local value = type(text) == 'string' and text:match('^%d+$') and tonumber(text)
    return value and value <= MAX_NUMBER and value or nil
end

-- A whole number from an argument; raises an error that names it.
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

-- Whether the one ID is below the other; '' is below all.
local function is_before(left, right)
    local left_epoch, left_seq = position(left)
    local right_epoch, right_seq = position(right)
    if not left_epoch or not right_epoch then return right_epoch ~= nil end
    return left_epoch < right_epoch or (left_epoch == right_epoch and left_seq < right_seq)
end

-- (Never `unpack(args)` without bounds: Lua's stack takes 8,000 values, and a tail or a roster is longer.)

-- '<count>:<bytes>' as {count, bytes, paged}: how much is wanted, or kept, at most. '<count>': no bound in bytes, and not `paged`; nodes of
-- versions before 9 ask so, who cannot read the rest of a page.
local function bounds(text, name)
    local count, bytes = (text or ''):match('^(%d+):(%d+)$')
    if not count then return {count = number(text, name), bytes = math.huge, paged = false} end
    return {count = number(count, name), bytes = number(bytes, name), paged = true}
end

-- Redis' clock, in ms since 1970.
local function now()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- The highest epoch that is `ahead` of the clock.
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

-- Whether this Redis is a node of a Cluster; asked once for each loading of the library.
local clustered
local function in_cluster()
    if clustered == nil then
        clustered = redis.call('INFO', 'cluster'):find('cluster_enabled:1', 1, true) ~= nil
    end
    return clustered
end

-- In a Cluster a PUBLISH goes to every server; SPUBLISH stays with the master that has the channel's slot, which is the room's.
local function publish(log, payload)
    redis.call(in_cluster() and 'SPUBLISH' or 'PUBLISH', channel(log), payload)
end

-- Raises WRONGTYPE, naming the key, unless each key is absent or of its type. Called before anything is written.
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

-- Flat field-value pairs (as Redis gives hashes and entries) as the inside of a JSON object of strings.
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

local function publish_epoch(log, nodes, room, by)
    publish(log, '{"type":"epoch","epoch":"' .. int(room.epoch) .. '","base":"' .. int(room.seq)
        .. '","nodes":' .. json_pairs(redis.call('HGETALL', nodes)) .. ',"by":' .. cjson.encode(by) .. '}')
end
