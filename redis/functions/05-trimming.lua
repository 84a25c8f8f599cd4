-- How long a log may become. It is held for participants who have not read it, and for the sinks of relays that nodes
-- name, up to a bound of its own. Shared by append_outside, once and trim.

-- How many of the log's newest entries a sink has not got; all of them if there is one that has nothing, or is ahead of
-- a log that has begun again; nil if no sinks are named.
local function entries_to_send(log, sinks)
    if not sinks then return nil end
    local last, most = last_id(log).seq, 0
    for sink in sinks:gmatch('[^,]+') do
        local _, seq = position(cursor_of(key_of(log, 'cursors'), sink))
        if not seq or seq > last then return math.huge end
        most = math.max(most, last - seq)
    end
    return most
end

-- How many of the log's newest entries a participant has still to read; all of them if one has read nothing; nil
-- if nobody belongs to the room.
local function entries_to_read(log)
    local count = redis.pcall('HLEN', key_of(log, 'participants'))
    if type(count) ~= 'number' or count == 0 then return nil end
    local marks = redis.pcall('HVALS', key_of(log, 'reads'))
    if marks.err or #marks < count then return math.huge end
    local last, least = last_id(log).seq, math.huge
    for _, mark in ipairs(marks) do least = math.min(least, tonumber(mark:match('^%d+%-(%d+)%.%d+$')) or 0) end
    return math.max(0, last - least)
end

-- The bound that XADD gets: of a log that may be held the higher one, as XADD does not know who has read.
local function most_entries(log, kept)
    if not kept.held then return kept.count end
    if not kept.sinks and redis.call('EXISTS', key_of(log, 'participants')) == 0 then return kept.count end
    return math.max(kept.count, kept.held.count)
end

-- Drops the oldest entries until the log is within its bounds; the newest entry always stays, and so do those that a
-- participant has to read or a sink has to get, up to their bound. MEMORY USAGE visits each node of the stream, of which there are at most
-- as many as messages. It is called with pcall, as the ACL user of an older version may lack the right. Then only the
-- number of messages bounds the log, and `martlet doctor` reports it.
local function trim(log, kept)
    local read, sent = kept.held and entries_to_read(log), kept.held and entries_to_send(log, kept.sinks)
    local needed = (read or sent) and math.max(read or 0, sent or 0)
    if needed then
        needed = math.min(needed, math.max(kept.count, kept.held.count))
        local most = math.max(kept.count, needed)
        if redis.call('XLEN', log) > most then redis.call('XTRIM', log, 'MAXLEN', int(most)) end
    end
    for _ = 1, 8 do
        local used = redis.pcall('MEMORY', 'USAGE', log, 'SAMPLES', 0)
        if type(used) ~= 'number' or used <= kept.bytes then return end
        local bytes, least = kept.bytes, needed or 1
        if needed and used > kept.held.bytes then bytes, least = math.max(bytes, kept.held.bytes), 1 end
        local length = redis.call('XLEN', log)
        if length <= math.max(1, least) then return end
        local most = math.max(1, least, math.min(length - 1, math.floor(length * bytes / used)))
        redis.call('XTRIM', log, 'MAXLEN', int(most))
    end
end
