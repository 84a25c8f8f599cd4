-- Tombstones: what is left of an entry whose content was erased. XDEL removes the entry from the log, and `overlay` (see
-- 04-overlay) keeps who wrote it, when, and who erased it. Pages show a tombstone in the entry's place, so positions
-- stay contiguous. Shared by all functions that read pages.

-- The bound of seqs in front of a log's first entry whose tombstones are kept, and the bound of tombstones that are
-- looked for in front of a page to which none lead from where it was to begin.
local MOST_TOMBSTONES, MOST_BEFORE_PAGE = 1000, 64

local function overlay_key(log)
    return key_of(log, 'overlay')
end

-- The tombstone at that seq as an entry, {ID, fields}, and its epoch; nil if the field of `overlay` is none.
local function tombstone(seq, text)
    if not text or not text:find('"deleted":{', 1, true) then return nil end
    local known, state = pcall(cjson.decode, text)
    local deleted = known and type(state) == 'table' and state.deleted
    local epoch = whole(state.epoch)
    if type(deleted) ~= 'table' or not epoch or type(state.user) ~= 'string' then return nil end
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
    return {state.epoch .. '-' .. int(seq), fields}, epoch
end

-- As is_before, of positions that were parsed.
local function is_lower(left_epoch, left_seq, right_epoch, right_seq)
    return left_epoch < right_epoch or (left_epoch == right_epoch and left_seq < right_seq)
end

-- Adds to `list` the tombstones from seq `from` on, in steps of 1 or -1, up to the first seq that has none, to `last`
-- (nil: no bound), and `most` of them. `before`: the ID behind which they begin (nil: none); in a log that was set back
-- the same seq may have been used twice, so their IDs have to go on from there. `accepts`: nil, or whether an epoch and
-- seq still belong to them.
local function add_run(list, overlay, from, step, last, most, before, accepts)
    local chunk, seq = 2, from
    local before_epoch, before_seq = position(before)
    while most > 0 do
        local names, places = {}, {}
        while #names < math.min(chunk, most) and seq > 0 and (not last or (last - seq) * step >= 0) do
            names[#names + 1], places[#places + 1] = int(seq), seq
            seq = seq + step
        end
        if #names == 0 then return end
        for index, text in ipairs(redis.call('HMGET', overlay, unpack(names))) do
            local place = places[index]
            local entry, epoch = tombstone(place, text)
            if not entry or accepts and not accepts(epoch, place) then return end
            if before_epoch and step > 0 and not is_lower(before_epoch, before_seq, epoch, place)
                or before_epoch and step < 0 and not is_lower(epoch, place, before_epoch, before_seq) then
                return
            end
            list[#list + 1], before_epoch, before_seq = entry, epoch, place
        end
        most = most - #names
        chunk = math.min(chunk * 4, 64)
    end
end

-- The seq of the lowest of the tombstones that are adjacent in front of a log's first entry; `first` if there is none.
-- Each amendment notes it (`erased` of meta: '<first>-<lowest>'), so only those before an entry that has become the
-- first one since are counted.
local function lowest_before_first(log, first)
    local overlay = overlay_key(log)
    if redis.call('TYPE', overlay).ok ~= 'hash' then return first end
    local seq, least = first, math.max(1, first - MOST_TOMBSTONES)
    local erased = redis.pcall('HGET', key_of(log, 'meta'), 'erased')
    local noted, lowest = position(type(erased) == 'string' and erased or '')
    while seq > least do
        if seq == noted then return math.max(least, math.min(lowest, seq)) end
        local names = {}
        for below = seq - 1, math.max(least, seq - 64, noted and noted < seq and noted or 0), -1 do
            names[#names + 1] = int(below)
        end
        for _, text in ipairs(redis.call('HMGET', overlay, unpack(names))) do
            if not text or not text:find('"deleted":{', 1, true) then return seq end
            seq = seq - 1
        end
    end
    return seq
end

-- A page with the tombstones that belong into it. `entries` and `more` come from `page`, which read in steps of 1
-- (XRANGE) or -1 (XREVRANGE) from behind the position `start` (nil: from the end). The bounds of the page hold again
-- for the result. A room in which nothing was ever amended costs one TYPE.
local function with_tombstones(log, entries, more, start, step, count, bytes)
    local overlay = overlay_key(log)
    if count <= 0 or redis.call('TYPE', overlay).ok ~= 'hash' then return entries, more end
    local start_epoch, start_seq = position(start)
    local function accepts(epoch, seq)
        if not start_seq then return true end
        if step > 0 then return is_lower(start_epoch, start_seq, epoch, seq) end
        return is_lower(epoch, seq, start_epoch, start_seq)
    end
    local all, before, last = {}, nil, nil
    -- The tombstones in front of the first entry, in the order of reading. They are read from where they begin, and only
    -- as many as the page may hold. If they do not lead to the entry, something is missing in between, and those that
    -- are adjacent to the entry are shown.
    local function add_run_before(epoch, seq, id)
        local from, run = start_seq and start_seq + step, {}
        if from == seq then return end
        if step > 0 and first_of(log) == id then from = math.max(from or 1, lowest_before_first(log, seq)) end
        if from and (seq - from) * step > 0 then
            add_run(run, overlay, from, step, seq - step, count + 1, start, function(own_epoch, own_seq)
                if step > 0 then return is_lower(own_epoch, own_seq, epoch, seq) end
                return is_lower(epoch, seq, own_epoch, own_seq)
            end)
            if #run <= count and #run < (seq - from) * step then run = {} end
        end
        if #run == 0 then
            add_run(run, overlay, seq - step, -step, nil, MOST_BEFORE_PAGE, id, accepts)
            run = reversed(run)
        end
        for _, entry in ipairs(run) do all[#all + 1] = entry end
    end
    for _, entry in ipairs(entries) do
        local epoch, seq = position(entry[1])
        if seq and before and (seq - before) * step > 1 then
            add_run(all, overlay, before + step, step, seq - step, count + 1 - #all, last)
        elseif seq and not before then
            add_run_before(epoch, seq, entry[1])
        end
        all[#all + 1] = entry
        if seq then before, last = seq, entry[1] end
    end
    if before then
        add_run(all, overlay, before + step, step, nil, count + 1 - #all, last)
    elseif start_seq and step > 0 then
        add_run(all, overlay, start_seq + 1, 1, nil, count + 1, nil, accepts)
    elseif start_seq then
        -- All that is left before the log's first entry.
        local _, seq = position(first_of(log))
        if seq then
            local from, lowest = math.min(start_seq, seq) - 1, lowest_before_first(log, seq)
            add_run(all, overlay, from, -1, lowest, count + 1, nil, accepts)
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
    return (not room.first or seq >= room.first or seq >= lowest_before_first(log, room.first)) and found or nil
end

-- The seq of the first message of an epoch, of which the entry at `seq` is the first that is not erased. The seqs of an
-- epoch are contiguous, so a tombstone of it tells that the epoch had begun: the first one is searched by halving.
local function first_of_epoch(log, epoch, seq)
    local overlay = overlay_key(log)
    if redis.call('TYPE', overlay).ok ~= 'hash' then return seq end
    local function is_of_epoch(at)
        if at <= 0 then return false end
        local _, own = tombstone(at, redis.call('HGET', overlay, int(at)))
        return own == epoch
    end
    local known, step = seq, 1
    while is_of_epoch(known - step) do known, step = known - step, step * 2 end
    while step > 1 do
        step = step / 2
        if is_of_epoch(known - step) then known = known - step end
    end
    return known
end
