-- Amendments: entries of the log about an earlier message (edit, delete, react, unreact, pin, unpin), and the folded
-- state of messages in `overlay`. Shared by amend, by the functions that append messages of threads, and by restore.
--
-- `overlay`: the seq of a message -> JSON of its state: `v` (number of edits), `by`, `at`, `edits` (positions of its
-- edits), `reactions` {"<emoji>": {"n": …, "users": [first 20]}}, `pinned` {by, at}, `replies`, `last` (position of the
-- newest reply). Of an erased entry: `epoch`, `user`, `at`, `key`, `thread`, `op`, `of`, and `deleted` {by, at}. The
-- fields `<seq>.text` and `<seq>.data` hold what the newest edit said, as it is: it may be long, and a reaction does not
-- read it. (Versions before 23 wrote both into the JSON.) The field `<seq>:<emoji>` holds 8 bytes of hash for each user
-- who has reacted.
--
-- `amendments`: the seqs of the amendments that the log still holds. `ops` of meta: how many there ever were.

local MOST_NAMES = 20

local function amendments_key(log)
    return key_of(log, 'amendments')
end

local AMENDMENT_TYPES = {'hash', 'zset'}

-- The keys of a room's amendments: overlay, amendments.
local function amendment_keys(log)
    return overlay_key(log), amendments_key(log)
end

local function seq_of(id)
    local _, seq = position(id)
    return seq and int(seq)
end

-- The state of the message with that seq; an empty table if it has none, or none that can be read.
local function read_state(log, seq)
    local text = redis.call('HGET', overlay_key(log), seq)
    local known, state = pcall(cjson.decode, text or '{}')
    if not known or type(state) ~= 'table' then return {} end
    for name, value in pairs(state) do
        -- What is `null` in JSON is no nil in Lua, and tables of another form were written by nobody of ours.
        if value == cjson.null then state[name] = nil end
    end
    for _, name in ipairs({'reactions', 'edits', 'deleted', 'pinned'}) do
        if type(state[name]) ~= 'table' then state[name] = nil end
    end
    for _, name in ipairs({'v', 'replies'}) do
        if type(state[name]) ~= 'number' then state[name] = nil end
    end
    for emoji, reaction in pairs(state.reactions or {}) do
        if type(reaction) ~= 'table' or type(reaction.n) ~= 'number' then state.reactions[emoji] = nil
        elseif type(reaction.users) ~= 'table' then reaction.users = nil end
    end
    return state
end

local function write_state(log, seq, state)
    if state.reactions and not next(state.reactions) then state.reactions = nil end
    if next(state) then
        redis.call('HSET', overlay_key(log), seq, cjson.encode(state))
    else
        redis.call('HDEL', overlay_key(log), seq)
    end
end

-- The fields that hold what the newest edit of a message said.
local function edit_fields(seq)
    return seq .. '.text', seq .. '.data'
end

-- What the newest edit of a message said, which is no part of its state any more.
local function write_edit(log, seq, state, text, data)
    local overlay, text_field, data_field = overlay_key(log), edit_fields(seq)
    state.text, state.data = nil, nil
    redis.call('HDEL', overlay, text_field, data_field)
    if text then redis.call('HSET', overlay, text_field, text) end
    if data then redis.call('HSET', overlay, data_field, data) end
end

-- 8 bytes that identify the user among those who have reacted.
local function user_hash(user)
    local bytes = {}
    for pair in redis.sha1hex(user):sub(1, 16):gmatch('..') do
        bytes[#bytes + 1] = string.char(tonumber(pair, 16))
    end
    return table.concat(bytes)
end

-- Where the user's hash is in the hashes of a reaction; nil if the user has not reacted so.
local function find_hash(hashes, user)
    local hash = user_hash(user)
    for place = 1, #hashes, 8 do
        if hashes:sub(place, place + 7) == hash then return place end
    end
end

-- A list of strings as JSON: cjson writes an empty table as an object.
local function json_list(list)
    local parts = {}
    for index, text in ipairs(list) do parts[index] = cjson.encode(text) end
    return '[' .. table.concat(parts, ',') .. ']'
end

local function decoded_list(text)
    local known, list = pcall(cjson.decode, text or '[]')
    local strings = {}
    for _, value in ipairs(known and type(list) == 'table' and list or {}) do
        if type(value) == 'string' then strings[#strings + 1] = value end
    end
    return strings
end

-- A message at `id` is a reply in a thread: its root counts it. A root that is no message of the log counts nothing.
local function count_reply(log, id, root, change)
    local entry = position(root) and redis.call('XRANGE', log, root, root)[1]
    if not entry or field(entry[2], 'op') then return end
    local seq = seq_of(root)
    local state = read_state(log, seq)
    state.replies = math.max(0, (state.replies or 0) + change)
    if change > 0 then state.last = id end
    write_state(log, seq, state)
end

-- Keeps the tombstone of an erased entry with those fields.
local function bury(log, id, fields, by, at)
    local epoch, seq = position(id), seq_of(id)
    redis.call('HDEL', overlay_key(log), edit_fields(seq))
    redis.call('HSET', overlay_key(log), seq, cjson.encode({
        epoch = int(epoch), user = field(fields, 'user') or 'unknown', at = field(fields, 'at') or int(epoch),
        op = field(fields, 'op'), of = field(fields, 'of'), thread = field(fields, 'thread'),
        key = field(fields, 'key'), deleted = {by = by, at = at},
    }))
end

-- Whether the log was trimmed beyond the position. The append of a deletion may trim the message that it is about.
local function is_trimmed(log, id)
    local first = first_of(log)
    return first and is_before(id, first)
end

-- Erases a message and its edits from the log.
local function erase(log, id, by, at)
    local entry = position(id) and redis.call('XRANGE', log, id, id)[1]
    if entry and field(entry[2], 'op') then return end
    if not entry and not (position(id) and is_trimmed(log, id)) then return end
    local seq = seq_of(id)
    local state = read_state(log, seq)
    if not entry and state.deleted then return end
    for _, edit in ipairs(state.edits or {}) do
        local found = type(edit) == 'string' and position(edit) and redis.call('XRANGE', log, edit, edit)[1]
        if found and field(found[2], 'of') == id then
            redis.call('XDEL', log, edit)
            bury(log, edit, found[2], by, at)
        end
    end
    for emoji in pairs(state.reactions or {}) do redis.call('HDEL', overlay_key(log), seq .. ':' .. emoji) end
    if not entry then
        redis.call('HDEL', overlay_key(log), seq, edit_fields(seq))
        return
    end
    redis.call('XDEL', log, id)
    bury(log, id, entry[2], by, at)
    local root = field(entry[2], 'thread')
    if root then count_reply(log, id, root, -1) end
end

-- The positions that a `delete` erases: those of `data`, or `of`.
local function targets_of(fields)
    local data = field(fields, 'data')
    return data and decoded_list(data) or {field(fields, 'of')}
end

-- Folds an entry that is in the log now, at `id`, into the state of the message that it is about.
local function fold(log, id, fields)
    local operation, of = field(fields, 'op'), field(fields, 'of')
    if not operation then
        local root = field(fields, 'thread')
        if root then count_reply(log, id, root, 1) end
        return
    end
    local seq = seq_of(id)
    redis.call('ZADD', amendments_key(log), seq, seq)
    redis.call('HINCRBY', key_of(log, 'meta'), 'ops', 1)
    local user, at, text = field(fields, 'user'), field(fields, 'at'), field(fields, 'text')
    if operation == 'delete' then
        for _, target in ipairs(targets_of(fields)) do erase(log, target, user, at) end
        return
    end
    local target = position(of) and redis.call('XRANGE', log, of, of)[1]
    if not target then return end
    local number, place = tonumber(field(fields, 'n') or '0') or 0, seq_of(of)
    local state = read_state(log, place)
    if operation == 'edit' then
        state.v, state.by, state.at = number, user, at
        write_edit(log, place, state, text, field(fields, 'data'))
        state.edits = state.edits or {}
        state.edits[#state.edits + 1] = id
    elseif operation == 'pin' then
        state.pinned = {by = user, at = at}
    elseif operation == 'unpin' then
        state.pinned = nil
    elseif text and (operation == 'react' or operation == 'unreact') then
        local name, users = place .. ':' .. text, decoded_list(field(fields, 'data'))
        local hashes = redis.call('HGET', overlay_key(log), name) or ''
        local found = find_hash(hashes, user)
        if operation == 'react' and not found then
            hashes = hashes .. user_hash(user)
        elseif operation == 'unreact' and found then
            hashes = hashes:sub(1, found - 1) .. hashes:sub(found + 8)
        end
        state.reactions = state.reactions or {}
        if number > 0 then
            state.reactions[text] = {n = number, users = #users > 0 and users or nil}
            redis.call('HSET', overlay_key(log), name, hashes)
        else
            state.reactions[text] = nil
            redis.call('HDEL', overlay_key(log), name)
        end
    end
    write_state(log, place, state)
end

-- Puts back the tombstone of an entry that the log lost before or after it was erased.
local function fold_tombstone(log, id, fields)
    redis.call('XDEL', log, id)
    bury(log, id, fields, field(fields, 'by') or '', field(fields, 'deleted'))
    if field(fields, 'op') then
        local seq = seq_of(id)
        redis.call('ZADD', amendments_key(log), seq, seq)
        redis.call('HINCRBY', key_of(log, 'meta'), 'ops', 1)
    end
end

-- Forgets the amendments of a log that is gone.
local function forget_amendments(log)
    redis.call('DEL', amendment_keys(log))
    redis.call('HDEL', key_of(log, 'meta'), 'ops', 'erased')
end

-- Notes which tombstones are left in front of the log's first entry, and removes fields whose messages were trimmed,
-- among `count` that are taken at random: only their names are read, as what they hold may be long.
local function sweep_overlay(log, meta, first, count)
    redis.call('ZREMRANGEBYSCORE', amendments_key(log), '-inf', '(' .. int(first))
    local lowest = lowest_before_first(log, first)
    if lowest < first then
        redis.call('HSET', meta, 'erased', int(first) .. '-' .. int(lowest))
    else
        redis.call('HDEL', meta, 'erased')
    end
    -- The ACL user of an older version may lack the right.
    local overlay = overlay_key(log)
    local names = redis.pcall('HRANDFIELD', overlay, count)
    for _, name in ipairs(names.err and {} or names) do
        local digits, rest = name:match('^(%d+)(.*)$')
        local seq = tonumber(digits)
        local keeps = seq and (seq >= first
            or rest == '' and seq + MOST_TOMBSTONES >= first and tombstone(seq, redis.call('HGET', overlay, name)))
        if not keeps then redis.call('HDEL', overlay, name) end
    end
end

-- What amendments made of these messages, by seq: {JSON, text or nil, data or nil}. `texts`: the fields of `overlay` that
-- were read. What the newest edit said is read apart, as few messages have it.
local function states_of(overlay, names, texts)
    local states, edited, wanted = {}, {}, {}
    for index, text in ipairs(texts) do
        if text and not text:find('"deleted":{', 1, true) then
            states[names[index]] = {text}
            if text:find('"v":', 1, true) then
                edited[#edited + 1] = names[index]
                wanted[#wanted + 1], wanted[#wanted + 2] = edit_fields(names[index])
            end
        end
    end
    if #edited == 0 then return states end
    local said = redis.call('HMGET', overlay, unpack(wanted))
    for index, name in ipairs(edited) do
        states[name][2], states[name][3] = said[2 * index - 1] or nil, said[2 * index] or nil
    end
    return states
end

-- As many of the entries of a page, in the order of reading, as have with their states at most `bytes` bytes together,
-- but at least one if there is one; then whether there are more, and the states by seq (see states_of). A state may be
-- as long as the largest message, however short its entry is. So a few are read at a time, no more than should fit by
-- the size of the earlier ones.
local function with_states(log, entries, more, bytes)
    local overlay, found = overlay_key(log), {}
    if #entries == 0 or redis.call('TYPE', overlay).ok ~= 'hash' then return entries, more, found end
    local taken, total, chunk = {}, 0, 2
    while #taken < #entries do
        local names, start = {}, #taken
        for index = start + 1, math.min(#entries, start + chunk) do
            names[#names + 1] = not field(entries[index][2], 'deleted') and seq_of(entries[index][1]) or '-'
        end
        local states = states_of(overlay, names, redis.call('HMGET', overlay, unpack(names)))
        for index, name in ipairs(names) do
            local entry, state = entries[start + index], states[name]
            total = total + entry_size(entry[2])
            if state then total = total + #state[1] + #(state[2] or '') + #(state[3] or '') end
            if #taken > 0 and total > bytes then return taken, true, found end
            taken[#taken + 1], found[name] = entry, state
        end
        local fitting = math.floor((bytes - total) / math.max(1, total / #taken)) + 1
        chunk = math.max(1, math.min(chunk * 2, 64, fitting))
    end
    return taken, more, found
end
