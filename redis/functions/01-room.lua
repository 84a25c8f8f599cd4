-- Where a room's log stands, and how a new epoch begins. Shared by most functions.

-- Epoch and seq of the log's last ID, and the seq of its first entry (nil: it has none). The key exists.
local function last_id(log)
    local info = redis.call('XINFO', 'STREAM', log)
    local room = {}
    for index = 1, #info, 2 do
        if info[index] == 'last-generated-id' then
            room.epoch, room.seq = position(info[index + 1])
        elseif info[index] == 'first-entry' and info[index + 1] then
            local _, seq = position(info[index + 1][1])
            room.first = seq
        end
    end
    if room.epoch > MAX_NUMBER or room.seq > MAX_NUMBER then
        error({err = 'ERR martlet: the last ID of ' .. log .. ' is beyond 2^53, no position of ours; delete the key'})
    end
    return room
end

-- The room as it is: last ID, epoch chain (oldest first, {epoch, base}) and the epoch at which history began. If the
-- chain does not end with the log's epoch (an outsider began the log, or the chain was lost), history begins with that
-- epoch: `afresh`.
local function read_room(log, epochs, meta)
    local room = last_id(log)
    room.chain = {}
    for _, link in ipairs(redis.call('LRANGE', epochs, 0, -1)) do
        local epoch, base = position(link)
        if not epoch then room.chain = {} break end
        room.chain[#room.chain + 1] = {epoch = epoch, base = base}
    end
    room.history = tonumber(redis.call('HGET', meta, 'history') or nil)
    local newest = room.chain[#room.chain]
    if not room.history or not newest or newest.epoch ~= room.epoch or newest.base > room.seq then
        local entry = redis.call('XRANGE', log, int(room.epoch) .. '-0', int(room.epoch), 'COUNT', 1)[1]
        local _, seq = position(entry and entry[1])
        local base = seq and math.max(seq - 1, 0) or room.seq
        room.afresh, room.history, room.chain = true, room.epoch, {{epoch = room.epoch, base = base}}
    end
    return room
end

-- Adds the epoch that begins at seq `base` to the chain: the newest link goes if nothing was said in it.
local function add_link(epochs, meta, room, epoch, base)
    local chain = room.chain
    if room.afresh then
        redis.call('DEL', epochs)
        redis.call('HSET', meta, 'history', int(room.history))
        redis.call('RPUSH', epochs, int(chain[1].epoch) .. '-' .. int(chain[1].base))
        room.afresh = nil
    end
    local newest = chain[#chain]
    if newest.base == base and newest.epoch ~= room.history then
        redis.call('RPOP', epochs)
        table.remove(chain)
    end
    redis.call('RPUSH', epochs, int(epoch) .. '-' .. int(base))
    chain[#chain + 1] = {epoch = epoch, base = base}
end

-- Raise: begins `epoch` at the log's last seq, so that appends with an older one are refused. Links that ended below the
-- log's first entry go.
local function raise(log, epochs, meta, room, epoch)
    redis.call('XSETID', log, int(epoch) .. '-' .. int(room.seq))
    add_link(epochs, meta, room, epoch, room.seq)
    room.epoch = epoch
    local first = room.first or room.seq + 1
    while room.chain[2] and room.chain[2].base + 1 < first do
        redis.call('LPOP', epochs)
        table.remove(room.chain, 1)
    end
end
