-- Read positions and unread messages. Shared by read, receipts, head and say.
--
-- `participants`: user -> JSON. `reads`: user -> `<epoch>-<seq>.<ops>`: up to where a participant has read, and how many
-- of the entries up to there are amendments, which nobody has to read. `ops` of meta: the amendments of the room's whole
-- life. `amendments`: the seqs of those that the log still holds.
--
-- A mark counts as long as its message is part of the room's history: `read` stores the position that the message has in
-- the log, and what a failover takes from the log it takes from the marks that were stored after it. Only a log that
-- began afresh voids earlier marks.

-- A room's meta, participants, reads and amendments.
local function read_keys(log)
    return key_of(log, 'meta'), key_of(log, 'participants'), key_of(log, 'reads'), key_of(log, 'amendments')
end

-- '<epoch>-<seq>.<ops>' as {epoch, seq, ops}; nil if it is none, or voided by a history that began later, or beyond the
-- log's end.
local function read_mark(text, history, last)
    if not text then return nil end
    local epoch, seq, ops = text:match('^(%d+)%-(%d+)%.(%d+)$')
    epoch, seq, ops = tonumber(epoch), tonumber(seq), tonumber(ops)
    if not epoch or ops > seq or seq > last or epoch < history or epoch > MAX_NUMBER then return nil end
    return {epoch = epoch, seq = seq, ops = ops}
end

local function mark_text(mark)
    return mark and int(mark.epoch) .. '-' .. int(mark.seq) .. '.' .. int(mark.ops) or ''
end

-- The number of amendments up to `seq` of a log that ends at `last`, of `ops` in all.
local function ops_until(amendments, ops, seq, last)
    if ops == 0 or seq >= last then return ops end
    return math.max(0, math.min(seq, ops - redis.call('ZCOUNT', amendments, '(' .. int(seq), '+inf')))
end

-- The number of messages after the mark in a log that ends at `last`. Who has read nothing has at most what is in the log
-- to read.
local function unread(mark, ops, last, length)
    if not mark then return math.max(0, math.min(last - ops, length)) end
    return math.max(0, (last - ops) - (mark.seq - mark.ops))
end

-- A participant who says something has read the room up to there. `id` is the log's last entry.
local function sender_has_read(log, user, id)
    local meta, participants, reads = read_keys(log)
    if redis.pcall('HEXISTS', participants, user) ~= 1 then return end
    local ops = whole(redis.call('HGET', meta, 'ops') or nil) or 0
    redis.pcall('HSET', reads, user, id .. '.' .. int(ops))
    local ttl = redis.call('PTTL', participants)
    if ttl > 0 then redis.call('PEXPIRE', reads, ttl) end
end
