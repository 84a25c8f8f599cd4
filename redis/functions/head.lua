-- martlet_head: a room as a line of a participant's list of conversations.
-- FCALL martlet_head 1 'martlet:{lobby}:log' ana
--
-- KEYS  log
-- ARGV  user
-- Returns nil if the user is no participant; else {kind, JSON of the participant, ID of the log's newest entry ('0-0': it
--       has none), mark, unread messages, {ID, user, at, text, 1 if the text is cut}, the other participant of a direct
--       conversation or nil}. The message is the newest one, as it reads now; {} if there is none among the newest 64
--       entries, or if the user is banned from the room. The text has at most 1,024 bytes; nil if there is none, or if the message is deleted.
-- Atomic all of it; changes nothing.

local MOST_PREVIEW, MOST_AMENDMENTS, MOST_BYTES = 1024, 64, 262144

-- The beginning of a text, never cut inside a UTF-8 character, and whether it is cut.
local function preview(text)
    if not text or #text <= MOST_PREVIEW then return text or false, '0' end
    local last = MOST_PREVIEW
    while last > 0 and text:byte(last + 1) >= 0x80 and text:byte(last + 1) < 0xC0 do last = last - 1 end
    return text:sub(1, last), '1'
end

-- The text of a message as it reads now.
local function folded(log, seq, fields)
    local text_field = edit_fields(int(seq))
    local said = redis.pcall('HMGET', overlay_key(log), int(seq), text_field)
    local known, state = false, nil
    if type(said[1]) == 'string' then known, state = pcall(cjson.decode, said[1]) end
    if known and type(state) == 'table' then
        if type(state.deleted) == 'table' then return nil end
        if type(state.v) == 'number' and state.v > 0 then
            return said[2] or type(state.text) == 'string' and state.text or nil
        end
    end
    return field(fields, 'text')
end

-- The newest message among the 64 entries before that position, or its tombstone. Mostly it is among the first four.
local function message_before(log, id)
    for _, count in ipairs({4, MOST_AMENDMENTS}) do
        local entries, more = page('XREVRANGE', log, '(' .. id, '-', count, MOST_BYTES)
        for _, entry in ipairs(with_tombstones(log, entries, more, id, -1, count, MOST_BYTES)) do
            if not field(entry[2], 'op') then return entry end
        end
    end
end

redis.register_function{function_name = 'martlet_head', flags = {'no-writes'}, callback = function(keys, args)
    local log, user = keys[1], args[1] or ''
    channel(log)
    local meta, participants, reads = read_keys(log)
    local participant = redis.call('HGET', participants, user)
    if not participant then return false end
    local kind, all, history = unpack(redis.call('HMGET', meta, 'kind', 'ops', 'history'))
    local entries = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
    local is_banned = sanction_until(log, 'ban', user) ~= nil
    local newest = entries[1] and entries[1][1] or '0-0'
    local _, last = position(newest)
    last = last or 0
    local ops = math.min(whole(all or nil) or 0, last)
    local mark = read_mark(redis.call('HGET', reads, user), whole(history or nil) or 0, last)
    local message = entries[1]
    if message and field(message[2], 'op') then message = message_before(log, newest) end
    local line = {}
    if message then
        local epoch, seq = position(message[1])
        local text, by = field(message[2], 'text'), field(message[2], 'user')
        if ops > 0 and seq then text = folded(log, seq, message[2]) end
        local shown, cut = preview(text)
        if not is_banned then line = {message[1], by or '', field(message[2], 'at') or '', shown, cut} end
        -- Nobody has to read what comes after it, as these are amendments; and who said it has read it.
        if by == user and epoch and (not mark or mark.seq < seq) then
            mark = {epoch = epoch, seq = seq, ops = math.max(0, ops - (last - seq))}
        end
    end
    local other = false
    if kind == 'direct' and redis.call('HLEN', participants) <= 2 then
        for _, name in ipairs(redis.call('HKEYS', participants)) do
            if name ~= user then other = name end
        end
    end
    local length = mark and 0 or redis.call('XLEN', log)
    return {kind or '', participant, newest, mark_text(mark), int(unread(mark, ops, last, length)), line, other}
end}
