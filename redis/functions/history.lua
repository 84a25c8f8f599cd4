-- martlet_history: a page of a room's log.
--
-- KEYS  log
-- ARGV  'newest', 'before', 'after' or 'around' · a position ('' with newest) · how much is wanted, `<entries>:<bytes>`
-- Returns {{entries, oldest first}, ID of the log's newest entry or '', 1 if there are older ones, 1 if there are newer
--       ones}. `before` and `after` leave the position itself out, `around` has it in its newer half. There is at least
--       one entry if there is one.
-- Atomic all of it; changes nothing.

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

    if anchor == 'newest' or anchor == 'before' then
        local to = anchor == 'newest' and '+' or below
        local entries, more = page('XREVRANGE', log, to, '-', wanted.count, wanted.bytes)
        local newer = anchor == 'before' and not is_before(newest, place)
        return {reversed(entries), newest, more and 1 or 0, newer and 1 or 0}
    elseif anchor == 'after' then
        local entries, more = page('XRANGE', log, '(' .. place, '+', wanted.count, wanted.bytes)
        local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
        local older = oldest and not is_before(place, oldest[1])
        return {entries, newest, older and 1 or 0, more and 1 or 0}
    end
    local half = math.floor(wanted.bytes / 2)
    local older, more_older = page('XREVRANGE', log, below, '-', wanted.count, half)
    local newer, more_newer = page('XRANGE', log, place, '+', wanted.count, half)
    local kept = math.min(#older, math.max(math.floor(wanted.count / 2), wanted.count - #newer))
    local entries = {}
    for index = kept, 1, -1 do entries[#entries + 1] = older[index] end
    local rest = math.min(#newer, wanted.count - kept)
    for index = 1, rest do entries[#entries + 1] = newer[index] end
    return {entries, newest, (more_older or #older > kept) and 1 or 0, (more_newer or #newer > rest) and 1 or 0}
end}
