-- martlet_stars: the messages that a user has starred, the newest star first; changes nothing:
-- FCALL martlet_stars 1 'martlet:user:{ana}:rooms' '' 10:65536
--
-- KEYS  rooms (the other keys are derived from it: same hash tag, same slot)
-- ARGV  when the last star of the page before was given, '' for the first page · how much is wanted, `<stars>:<bytes>`
-- Returns {{when it was given, `<room>\n<position>`, JSON}, …, 1 if there are more than these, or 0}
-- Atomic this page.

redis.register_function{function_name = 'martlet_stars', flags = {'no-writes'}, callback = function(keys, args)
    local _, stars, starred = user_keys(keys[1])
    check({'hash', 'zset'}, {stars, starred})
    local before, wanted = args[1] or '', bounds(args[2], 'limit')
    local from = before ~= '' and '(' .. int(number(before, 'before')) or '+inf'
    local count = math.min(wanted.count, 1000)
    local flat = redis.call('ZRANGE', starred, from, '-inf', 'BYSCORE', 'REV', 'LIMIT', '0', int(count + 1), 'WITHSCORES')
    local page, bytes, more = {}, 0, '0'
    for index = 1, #flat, 2 do
        local copy = redis.call('HGET', stars, flat[index]) or '{}'
        if #page >= count or #page > 0 and bytes + #copy > wanted.bytes then
            more = '1'
            break
        end
        bytes = bytes + #copy
        page[#page + 1] = {int(tonumber(flat[index + 1])), flat[index], copy}
    end
    page[#page + 1] = more
    return page
end}
