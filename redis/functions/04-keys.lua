-- Looking for what was said before under the same key. Shared by once and say.

local function field(flat, name)
    for index = 1, #flat, 2 do
        if flat[index] == name then return flat[index + 1] end
    end
end

-- Where user and key meet, for entries: names hold no newline.
local function mark(flat)
    local user, key = field(flat, 'user'), field(flat, 'key')
    return user and key and user .. '\n' .. key
end

-- Entries above `known` (0: all, also the seq 0 at which a log that was set back restarts) by user and key, {ID, at}: the
-- first of each.
local function marks_above(log, known)
    local found, stop, finished = {}, '+', false
    while not finished do
        local entries = redis.call('XREVRANGE', log, stop, '-', 'COUNT', 200)
        finished = #entries < 200
        for _, entry in ipairs(entries) do
            local _, seq = position(entry[1])
            if known > 0 and seq <= known then return found end
            local name = mark(entry[2])
            if name then found[name] = {entry[1], field(entry[2], 'at') or '0'} end
            stop = '(' .. entry[1]
        end
    end
    return found
end
