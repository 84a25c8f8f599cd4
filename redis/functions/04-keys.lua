-- Looking for what was said before under the same key. Shared by once and say.

local function field(flat, name)
    for index = 1, #flat, 2 do
        if flat[index] == name then return flat[index + 1] end
    end
end

-- What a send is known by: user and key together. Names hold no newline.
local function mark(flat)
    local user, key = field(flat, 'user'), field(flat, 'key')
    return user and key and user .. '\n' .. key
end

-- Of the entries above `known` (0: all, also the seq 0 at which a log that was set back restarts) the first of each wanted
-- mark, {ID, at}. Most entries are passed over by a look at their key alone.
local function find(log, known, marks)
    local found, keys, stop, finished = {}, {}, '+', next(marks) == nil
    for name in pairs(marks) do keys[name:match('\n(.*)$')] = true end
    while not finished do
        local entries = redis.call('XREVRANGE', log, stop, '-', 'COUNT', 200)
        finished = #entries < 200
        for _, entry in ipairs(entries) do
            local id, fields = entry[1], entry[2]
            if known > 0 then
                local _, seq = position(id)
                if seq <= known then return found end
            end
            local count = #fields
            local key = fields[count - 1] == 'key' and fields[count] or field(fields, 'key')
            if key and keys[key] then
                local name = mark(fields)
                if name and marks[name] then found[name] = {id, field(fields, 'at') or '0'} end
            end
            stop = id
        end
        stop = '(' .. stop
    end
    return found
end
