-- What a room's history says of a position that somebody still holds. Shared by enter and view.

-- The verdict on the position `after` ('': none), as {'ok'}, {'rewound'} or {'gap', first, last}, and the entries after
-- it; if there is no position or it is rewound, the newest `limit` entries.
local function judge(log, room, after, limit)
    local epoch, seq = position(after)
    local verdict, entries = {'ok'}, nil
    if epoch then
        local known, newer = epoch <= room.chain[1].epoch, nil
        for _, link in ipairs(room.chain) do
            known = known or link.epoch == epoch
            newer = newer or (link.epoch > epoch and link)
        end
        local rewound = epoch > room.epoch or seq > room.seq or epoch < room.history or not known
            or (newer and newer.base < seq)
        entries = not rewound and redis.call('XRANGE', log, '(' .. after, '+')
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
local function room_reply(room, nodes, verdict, entries)
    local chain = {}
    for index, link in ipairs(room.chain) do chain[index] = int(link.epoch) .. '-' .. int(link.base) end
    return {
        verdict, int(room.epoch) .. '-' .. int(room.seq), int(room.chain[#room.chain].base), int(room.history), chain,
        redis.call('HGETALL', nodes), entries,
    }
end
