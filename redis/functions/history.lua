-- martlet_history: a page of a room's log.
--
-- KEYS  log
-- ARGV  'newest', 'before', 'after' or 'around' · a position ('' with newest) · how much is wanted, `<entries>:<bytes>`
--       · optional: 'fold'
-- Returns {{entries, oldest first}, ID of the log's newest entry or '', 1 if there are older ones, 1 if there are newer
--       ones}. `before` and `after` leave the position itself out, `around` has it in its newer half. There is at least
--       one entry if there is one. With 'fold' a fifth element, {seq, JSON, …}: the states that amendments gave to
--       entries of the page (see 04-overlay), which count among its bytes. With 'apart' a sixth one, {seq, text or nil,
--       data or nil, …}: what the newest edits said. Without (nodes of versions before 23) it is part of the JSON
-- Atomic all of it; changes nothing.

-- The states of the entries for a reply, and what the newest edits said, if that is to be apart.
local function told_states(entries, found, apart)
    local states, edits = {}, {}
    for _, entry in ipairs(entries) do
        local seq = seq_of(entry[1])
        local state = seq and found[seq]
        if state then
            local json, text, data = state[1], state[2], state[3]
            if apart and (text or data) then
                for _, value in ipairs({seq, text or false, data or false}) do edits[#edits + 1] = value end
            elseif text or data then
                json = json:sub(1, -2) .. (text and ',"text":' .. cjson.encode(text) or '')
                    .. (data and ',"data":' .. cjson.encode(data) or '') .. '}'
            end
            states[#states + 1] = seq
            states[#states + 1] = json
        end
    end
    return states, apart and edits or nil
end

redis.register_function{function_name = 'martlet_history', flags = {'no-writes'}, callback = function(keys, args)
    local log, anchor, place = keys[1], args[1], args[2]
    local wanted = bounds(args[3], 'limit')
    channel(log)
    check({'stream'}, keys)
    local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
    newest = newest and newest[1] or ''
    if anchor ~= 'newest' then
        -- A position beyond the bounds is above all others.
        local epoch, seq = (place or ''):match('^(%d+)%-(%d+)$')
        if not epoch then return {err = 'ERR martlet: not a position'} end
        place = int(math.min(tonumber(epoch), MAX_NUMBER)) .. '-' .. int(math.min(tonumber(seq), MAX_NUMBER))
    end
    -- Redis refuses an exclusive end beyond which there can be nothing.
    local below = place == '0-0' and '0-0' or '(' .. place

    local folds, found = args[4] == 'fold', {}
    local function reply(entries, older, newer)
        local result = {entries, newest, older and 1 or 0, newer and 1 or 0}
        if folds then result[5], result[6] = told_states(entries, found, args[5] == 'apart') end
        return result
    end
    local function read(command, from, to, start, step, bytes)
        local entries, more = page(command, log, from, to, wanted.count, bytes)
        entries, more = with_tombstones(log, entries, more, start, step, wanted.count, bytes)
        if not folds then return entries, more end
        local states
        entries, more, states = with_states(log, entries, more, bytes)
        for seq, state in pairs(states) do found[seq] = state end
        return entries, more
    end

    if anchor == 'newest' or anchor == 'before' then
        local to, start = anchor == 'newest' and '+' or below, anchor == 'before' and place or nil
        local entries, more = read('XREVRANGE', to, '-', start, -1, wanted.bytes)
        return reply(reversed(entries), more, anchor == 'before' and not is_before(newest, place))
    elseif anchor == 'after' then
        local entries, more = read('XRANGE', '(' .. place, '+', place, 1, wanted.bytes)
        local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
        return reply(entries, oldest and not is_before(place, oldest[1]), more)
    end
    local half, epoch, seq = math.floor(wanted.bytes / 2), position(place)
    -- The newer half begins with the position itself.
    local start = seq > 0 and int(epoch) .. '-' .. int(seq - 1) or '0-0'
    local older, more_older = read('XREVRANGE', below, '-', place, -1, half)
    local newer, more_newer = read('XRANGE', place, '+', start, 1, half)
    local kept = math.min(#older, math.max(math.floor(wanted.count / 2), wanted.count - #newer))
    local entries = {}
    for index = kept, 1, -1 do entries[#entries + 1] = older[index] end
    local rest = math.min(#newer, wanted.count - kept)
    for index = 1, rest do entries[#entries + 1] = newer[index] end
    return reply(entries, more_older or #older > kept, more_newer or #newer > rest)
end}
