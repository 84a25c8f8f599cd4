-- Tombstones: what is left of an entry whose content was erased. XDEL removes the entry from the log, and `overlay` (see
-- 04-overlay) keeps who wrote it, when, and who erased it. Pages show a tombstone in the entry's place, so positions
-- stay contiguous. Shared by all functions that read pages.

-- The bound of tombstones that are looked for in front of a page, and of those of a log's trimmed beginning that are
-- kept.
local MOST_TOMBSTONES = 1000

local function overlay_key(log)
    return key_of(log, 'overlay')
end

-- The tombstone at that seq as an entry, {ID, fields}; nil if the field of `overlay` is none.
local function tombstone(seq, text)
    if not text or not text:find('"deleted":{', 1, true) then return nil end
    local known, state = pcall(cjson.decode, text)
    local deleted = known and type(state) == 'table' and state.deleted
    if type(deleted) ~= 'table' or not whole(state.epoch) or type(state.user) ~= 'string' then return nil end
    local fields = {'user', state.user, 'at', tostring(state.at or '0')}
    for _, name in ipairs({'op', 'of', 'thread'}) do
        if type(state[name]) == 'string' then
            fields[#fields + 1] = name
            fields[#fields + 1] = state[name]
        end
    end
    for _, item in ipairs({{'deleted', deleted.at}, {'by', deleted.by}}) do
        fields[#fields + 1] = item[1]
        fields[#fields + 1] = tostring(item[2] or '')
    end
    if type(state.key) == 'string' then
        fields[#fields + 1] = 'key'
        fields[#fields + 1] = state.key
    end
    return {state.epoch .. '-' .. int(seq), fields}
end

-- Adds to `list` the tombstones from seq `from` on, in steps of 1 or -1, up to the first seq that has none, to `last`
-- (nil: no bound), and `most` of them. `before`: the ID behind which they begin (nil: none); in a log that was set back
-- the same seq may have been used twice, so their IDs have to go on from there. `accepts`: nil, or whether an ID still
-- belongs to them.
local function add_run(list, overlay, from, step, last, most, before, accepts)
    local chunk, seq = 2, from
    while most > 0 do
        local names = {}
        while #names < math.min(chunk, most) and seq > 0 and (not last or (last - seq) * step >= 0) do
            names[#names + 1] = int(seq)
            seq = seq + step
        end
        if #names == 0 then return end
        for index, text in ipairs(redis.call('HMGET', overlay, unpack(names))) do
            local entry = tombstone(tonumber(names[index]), text)
            if not entry or (accepts and not accepts(entry[1])) then return end
            if before and not is_before(step > 0 and before or entry[1], step > 0 and entry[1] or before) then return end
            list[#list + 1], before = entry, entry[1]
        end
        most = most - #names
        chunk = math.min(chunk * 4, 64)
    end
end

-- A page with the tombstones that belong into it. `entries` and `more` come from `page`, which read in steps of 1
-- (XRANGE) or -1 (XREVRANGE) from behind the position `start` (nil: from the end). The bounds of the page hold again
-- for the result. A room in which nothing was ever amended costs one TYPE.
local function with_tombstones(log, entries, more, start, step, count, bytes)
    local overlay = overlay_key(log)
    if count <= 0 or redis.call('TYPE', overlay).ok ~= 'hash' then return entries, more end
    local _, start_seq = position(start)
    local function accepts(id)
        if not start_seq then return true end
        if step > 0 then return is_before(start, id) end
        return is_before(id, start)
    end
    local all, before, last = {}, nil, nil
    -- The tombstones in front of an entry, in the order of reading.
    local function add_run_before(seq, id)
        local run = {}
        add_run(run, overlay, seq - step, -step, nil, MOST_TOMBSTONES, id, accepts)
        for index = #run, 1, -1 do all[#all + 1] = run[index] end
    end
    for _, entry in ipairs(entries) do
        local _, seq = position(entry[1])
        if seq and before and (seq - before) * step > 1 then
            add_run(all, overlay, before + step, step, seq - step, count + 1 - #all, last)
        elseif seq and not before then
            add_run_before(seq, entry[1])
        end
        all[#all + 1] = entry
        if seq then before, last = seq, entry[1] end
    end
    if before then
        add_run(all, overlay, before + step, step, nil, count + 1 - #all, last)
    elseif start_seq and step > 0 then
        add_run(all, overlay, start_seq + 1, 1, nil, count + 1, nil, accepts)
    elseif start_seq then
        -- All that is left before the log's first entry: of a trimmed log only what is adjacent to it.
        local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
        local _, seq = position(first and first[1])
        if seq then
            local run = {}
            add_run(run, overlay, seq - 1, -1, nil, MOST_TOMBSTONES, first[1])
            for _, entry in ipairs(run) do
                if accepts(entry[1]) and #all <= count then all[#all + 1] = entry end
            end
        end
    end
    local taken, total = {}, 0
    for _, entry in ipairs(all) do
        total = total + entry_size(entry[2])
        if #taken >= count or (#taken > 0 and total > bytes) then return taken, true end
        taken[#taken + 1] = entry
    end
    return taken, more
end

-- The entry with that ID, or its tombstone; nil if there is neither. Of the tombstones before the log's first entry only
-- those that are adjacent to it count: the others went with what was trimmed.
local function entry_or_tombstone(log, id, room)
    local entry = redis.call('XRANGE', log, id, id)[1]
    if entry then return entry end
    local _, seq = position(id)
    local text = seq and redis.pcall('HGET', overlay_key(log), int(seq))
    local found = type(text) == 'string' and tombstone(seq, text)
    if not found or found[1] ~= id then return nil end
    if room.first and seq < room.first then
        local run = {}
        add_run(run, overlay_key(log), room.first - 1, -1, seq, MOST_TOMBSTONES)
        if #run < room.first - seq then return nil end
    end
    return found
end

-- The seq of the first message of an epoch, of which the entry at `seq` is the first that is not erased.
local function first_of_epoch(log, epoch, seq)
    local overlay, run = overlay_key(log), {}
    if redis.call('TYPE', overlay).ok ~= 'hash' then return seq end
    add_run(run, overlay, seq - 1, -1, nil, MOST_TOMBSTONES, nil, function(id) return (position(id)) == epoch end)
    return seq - #run
end
