-- Finds messages that were sent before under the same key. Shared by once and say.
--
-- A log can only be read entry by entry with all contents, so `keys`, a hash, stores where each key was used: 16 hex
-- digits of SHA-1 over user and key -> ID. Appends do not write it. A function that needs it first brings it up to
-- date, by a bounded piece of the log in each call, so that each entry is read once for all. The field `:indexed` tells
-- how far the index reaches, and in which history. Every hit is compared with the entry itself, so a collision of
-- hashes does no harm.

-- The most of the log that one call reads.
local PIECE = {count = 256, bytes = 65536}

local function field(flat, name)
    for index = 1, #flat, 2 do
        if flat[index] == name then return flat[index + 1] end
    end
end

-- Identifies a send: user and key together. Names hold no newline.
local function mark(flat)
    local count = #flat
    local key = flat[count - 1] == 'key' and flat[count] or field(flat, 'key')
    local user = key and field(flat, 'user')
    return user and user .. '\n' .. key
end

local function digest(name)
    return redis.sha1hex(name):sub(1, 16)
end

-- Adds the entries, oldest first. The newest use of a key counts, as earlier ones may have been trimmed.
local function add_to_index(index, entries)
    for _, entry in ipairs(entries) do
        local name = position(entry[1]) and mark(entry[2])
        if name then redis.call('HSET', index, digest(name), entry[1]) end
    end
end

-- Whether the log has entries of an earlier history (it was set back, or an outsider continued it). Then seqs do not
-- order it, and nothing that a node knows about them counts.
local function is_mixed(room)
    return room.first and room.first_epoch < room.history
end

-- Reads the next piece of the log into the index, unless it covers all entries up to the seq `through`. Returns whether
-- it covers them now.
local function catch_up(log, room, through)
    local mixed, index, overlay = is_mixed(room), index_key(log), overlay_key(log)
    check({'hash', 'hash'}, {index, overlay})
    local id, history = (redis.call('HGET', index, ':indexed') or ''):match('^(%d+%-%d+):(%d+)$')
    local epoch, seq = position(id)
    local is_void = not epoch or history ~= int(room.history) or epoch > room.epoch
        or (epoch == room.epoch and seq > room.seq)
    -- Trimmed entries stay in the index until they outnumber the others, erased ones among them. Then the index is built
    -- anew.
    local kept = room.length + redis.call('HLEN', overlay)
    if is_void or redis.call('HLEN', index) > 2 * kept + 512 then
        redis.call('DEL', index)
        id, seq = nil, nil
    end
    if id and (id == room.newest or (seq >= through and not mixed)) then return true end
    local entries, more = page('XRANGE', log, id and '(' .. id or '-', '+', PIECE.count, PIECE.bytes)
    local start = id or '0-' .. int(lowest_before_first(log, room.first) - 1)
    entries, more = with_tombstones(log, entries, more, start, 1, PIECE.count, PIECE.bytes)
    add_to_index(index, entries)
    -- An entry whose ID is no position does not belong to the room, and reading does not continue from it.
    local last, reached = #entries, nil
    while last > 0 and not reached do
        local _, seq_there = position(entries[last][1])
        reached = seq_there
        if not reached then last = last - 1 end
    end
    if last == 0 then return true end
    redis.call('HSET', index, ':indexed', entries[last][1] .. ':' .. int(room.history))
    local ttl = redis.call('PTTL', log)
    if ttl > 0 then redis.call('PEXPIRE', index, ttl) end
    return not more or (reached >= through and not mixed)
end

-- Adds to `found` the newest entry of each wanted mark among those with a seq above `known`, as {ID, at}. False if
-- there are more entries than one call reads.
local function search_newest(log, known, wanted, found)
    local entries, more = page('XREVRANGE', log, '+', '-', 64, PIECE.bytes)
    entries, more = with_tombstones(log, entries, more, nil, -1, 64, PIECE.bytes)
    for _, entry in ipairs(entries) do
        local _, seq = position(entry[1])
        if seq and seq <= known then return true end
        local name = seq and mark(entry[2])
        if name and wanted[name] and not found[name] then
            found[name] = {entry[1], field(entry[2], 'at') or '0'}
        end
    end
    return not more
end

-- The entries of the wanted marks, as {ID, at}. The caller has searched the seqs above `from` up to `known` itself (0:
-- it has not). Nil if the index does not reach far enough yet; then the same call again reads on.
local function find(log, room, from, known, wanted)
    local found, mixed = {}, is_mixed(room)
    if not room.first or not next(wanted) then return found end
    if known == 0 or mixed then
        from = room.seq
    elseif known < room.seq and not search_newest(log, known, wanted, found) then
        from, found = room.seq, {}
    elseif from == 0 or from < room.first then
        return found
    end
    if not catch_up(log, room, from) then return nil end
    for name in pairs(wanted) do
        local id = not found[name] and redis.call('HGET', index_key(log), digest(name))
        local entry = id and position(id) and entry_or_tombstone(log, id, room)
        if entry and mark(entry[2]) == name then found[name] = {entry[1], field(entry[2], 'at') or '0'} end
    end
    return found
end

local function again(log)
    return {err = 'AGAIN more of ' .. log .. ' has to be read before it is known whether this was said; call again'}
end
