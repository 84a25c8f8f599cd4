-- What a room's history says of a position that somebody still holds. Shared by enter and view.

-- The index of the first link whose epoch is above `epoch`.
local function first_above(links, epoch)
    local low, high = 1, #links + 1
    while low < high do
        local middle = math.floor((low + high) / 2)
        if link(links[middle]) > epoch then high = middle else low = middle + 1 end
    end
    return low
end

-- The verdict on the position `after` ('': none), as {'ok'}, {'rewound'} or {'gap', first, last}, and the entries after
-- it; if there is no position or it is rewound, the newest `limit` entries.
local function judge(log, room, after, limit)
    local epoch, seq = position(after)
    local verdict, entries = {'ok'}, nil
    if epoch then
        local place = first_above(room.links, epoch)
        local known = place == 1 or link(room.links[place - 1]) == epoch
        local _, next_base = link(room.links[place])
        -- Seq 0 is never a message: nothing that was shown can be void.
        local rewound = seq > 0 and (epoch > room.epoch or seq > room.seq or epoch < room.history or not known
            or (room.links[place] and next_base < seq))
        entries = not rewound and redis.call('XRANGE', log, seq > 0 and '(' .. after or '-', '+')
        local _, next = position(entries and entries[1] and entries[1][1])
        next = next or room.seq + 1
        if rewound or next <= seq then
            verdict, entries = {'rewound'}, nil
        elseif next > seq + 1 then
            verdict = {'gap', int(seq + 1), int(next - 1)}
        end
    end
    if not entries then
        local newest = limit > 0 and redis.call('XREVRANGE', log, '+', '-', 'COUNT', limit) or {}
        entries = {}
        for index = #newest, 1, -1 do entries[#entries + 1] = newest[index] end
    end
    return verdict, entries
end

-- What enter and view answer.
local function room_reply(room, nodes, meta, verdict, entries)
    return {
        verdict, int(room.epoch) .. '-' .. int(room.seq), int(room.base), int(room.history), room.links,
        redis.call('HGETALL', nodes), entries, redis.call('HGET', meta, 'branch') or '0',
    }
end
