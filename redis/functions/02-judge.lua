-- Judges a position that a node or client holds by the room's history. Shared by enter and view.

-- The index of the first link whose epoch is above `epoch`.
local function first_above(links, epoch)
    local low, high = 1, #links + 1
    while low < high do
        local middle = math.floor((low + high) / 2)
        if link(links[middle]) > epoch then high = middle else low = middle + 1 end
    end
    return low
end

-- Returns the verdict on the position `after` ('' for none), as {'ok'}, {'rewound'} or {'gap', first, last}; then the
--       entries after it, oldest first, and whether the bounds of `wanted` excluded later ones. There are no entries
--       (nil) if there is no position or it is rewound: then the newest ones are the answer, and room_reply reads them.
local function judge(log, room, after, wanted)
    local epoch, seq = position(after)
    local verdict, entries, more = {'ok'}, nil, false
    if epoch then
        local place = first_above(room.links, epoch)
        local known = place == 1 or link(room.links[place - 1]) == epoch
        local _, next_base = link(room.links[place])
        -- Seq 0 is never a message, so nothing that was shown can be void.
        local rewound = seq > 0 and (epoch > room.epoch or seq > room.seq or epoch < room.history or not known
            or (room.links[place] and next_base < seq))
        if not rewound then
            local count = wanted.paged and math.max(1, wanted.count) or math.huge
            entries, more = page('XRANGE', log, seq > 0 and '(' .. after or '-', '+', count, wanted.bytes)
            entries, more = with_tombstones(log, entries, more, after, 1, count, wanted.bytes)
        end
        local _, next = position(entries and entries[1] and entries[1][1])
        next = next or room.seq + 1
        if rewound or next <= seq then
            verdict, entries = {'rewound'}, nil
        elseif next > seq + 1 then
            verdict = {'gap', int(seq + 1), int(next - 1)}
        end
    end
    return verdict, entries, more
end

-- The answer of enter and view, from what judge returned. No epoch of the room is above that of its log. `known`: the
-- version of the rules that the caller has; nil if the call is of a version before 14, which knows no rules.
local function room_reply(log, room, nodes, meta, wanted, known, verdict, entries, more)
    if not entries then
        entries, more = page('XREVRANGE', log, '+', '-', wanted.count, wanted.bytes)
        entries, more = with_tombstones(log, entries, more, nil, -1, wanted.count, wanted.bytes)
        entries = reversed(entries)
    end
    local branch = whole(redis.call('HGET', meta, 'branch')) or 0
    local reply = {
        verdict, int(room.epoch) .. '-' .. int(room.seq), int(room.base), int(room.history), room.links,
        redis.call('HGETALL', nodes), entries, int(branch > room.epoch and 0 or branch),
    }
    if wanted.paged then reply[9] = more and '1' or '0' end
    if wanted.paged and known then reply[10] = rules_reply(log, known) end
    return reply
end
