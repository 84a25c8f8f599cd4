-- martlet_read: participants have read a room up to these positions:
-- FCALL martlet_read 1 'martlet:{lobby}:log' ana 1795230114073-3
--
-- KEYS  log
-- ARGV  user · position · user · position … (at most 200 users) · optional, as the last one: of how many participants at
--       most a room is told what they have read (100); behind it ':<n>': a relay reads `receipts`, of which so many
--       entries are kept
-- Returns for each user, in this order, {user, mark, unread messages, word}; mark: `<epoch>-<seq>.<ops>` as it is stored
--       now, '' if there is none; the words:
--       read: the position was taken · known: the user had read as far before · lost: the position is none of this room's
--       history: of another room, or of a branch that was lost · stranger: the user is no participant
-- Atomic all of it: positions only go forward and are never beyond the log's end; PUBLISH of all marks that have changed,
--       in one line, if the room has no more participants than that; the same as an entry of `receipts`.

local MOST_READERS = 200
-- How long `receipts` lives after its newest entry, in ms: nodes of versions before 22 do not know it.
local RECEIPTS_LIFE = 86400000

-- The position's place in the room's history, {epoch, seq}, with the epoch that the message has in the log; nil if it has
-- none. A position of the newest epoch that is beyond the log's end counts as that end.
local function place_of(epochs, room, epoch, seq)
    if epoch == room.epoch and seq > room.seq then seq = room.seq end
    if epoch > room.epoch or seq > room.seq or (seq > 0 and epoch < room.history) then return nil end
    if epoch == room.epoch and seq > room.base then return {epoch = epoch, seq = seq} end
    if not room.chain then room.chain = room.afresh and room.links or redis.call('LRANGE', epochs, 0, -1) end
    local chain = room.chain
    if seq > 0 then
        local place = first_above(chain, epoch)
        local _, next_base = link(chain[place])
        if place > 1 and link(chain[place - 1]) ~= epoch or chain[place] and next_base < seq then return nil end
    end
    for index = #chain, 1, -1 do
        local began, base = link(chain[index])
        if base < seq then return {epoch = began, seq = seq} end
    end
    return {epoch = epoch, seq = seq}
end

-- The values of those fields of a hash. A small hash is a list in Redis, in which each field is searched for from the
-- beginning, so many of them are read as a whole.
local function values_of(key, names)
    if #names < 8 then return redis.call('HMGET', key, unpack(names)) end
    local flat, values = redis.call('HGETALL', key), {}
    for index = 1, #flat, 2 do values[flat[index]] = flat[index + 1] end
    local found = {}
    for index, name in ipairs(names) do found[index] = values[name] or false end
    return found
end

redis.register_function('martlet_read', function(keys, args)
    local log = keys[1]
    channel(log)
    local count = math.floor(#args / 2)
    if count < 1 or count > MOST_READERS then return {err = 'ERR martlet: read takes 1 to 200 users and positions'} end
    local told, entries = (#args % 2 == 1 and args[#args] or '100'):match('^(%d+):?(%d*)$')
    told = number(told, 'participants')
    local receipts = key_of(log, 'receipts')
    local wanted, users = {}, {}
    for index = 1, count do
        local epoch, seq = position(args[2 * index])
        if not epoch then return {err = 'ERR martlet: not a position'} end
        users[index] = args[2 * index - 1]
        wanted[index] = {epoch = epoch, seq = seq}
    end
    local epochs = key_of(log, 'epochs')
    local meta, participants, reads, amendments = read_keys(log)
    -- The others are only read, before anything is written.
    check({'hash', 'hash', entries ~= '' and 'stream' or nil}, {participants, reads, receipts})
    local room = {epoch = 0, seq = 0, base = 0, history = 0, length = 0, links = {}, afresh = true}
    if redis.call('EXISTS', log) == 1 then room = read_room(log, epochs, meta, -1) end
    local ops = math.min(whole(redis.call('HGET', meta, 'ops') or nil) or 0, room.seq)
    local known, texts = values_of(participants, users), values_of(reads, users)
    local replies, marks, changed = {}, {}, {}
    for index, want in ipairs(wanted) do
        local user = users[index]
        if not known[index] then
            replies[index] = {user, '', '0', 'stranger'}
        else
            local mark = marks[user] or read_mark(texts[index], room.history, room.seq)
            local place, word = place_of(epochs, room, want.epoch, want.seq), 'known'
            if not place then
                word = 'lost'
            elseif place.seq > (mark and mark.seq or 0) then
                place.ops = ops_until(amendments, ops, place.seq, room.seq)
                mark, word = place, 'read'
                if not marks[user] then changed[#changed + 1] = user end
                marks[user] = mark
            end
            replies[index] = {user, mark_text(mark), int(unread(mark, ops, room.seq, room.length)), word}
        end
    end
    if #changed > 0 then
        local flat = {}
        for _, user in ipairs(changed) do
            flat[#flat + 1] = user
            flat[#flat + 1] = mark_text(marks[user])
        end
        redis.call('HSET', reads, unpack(flat))
        local ttl = redis.call('PTTL', participants)
        if ttl > 0 then redis.call('PEXPIRE', reads, ttl) end
        if entries ~= '' then
            redis.call('XADD', receipts, 'MAXLEN', '~', entries, '*', unpack(flat))
            redis.call('PEXPIRE', receipts, RECEIPTS_LIFE)
        end
        if redis.call('HLEN', participants) <= told then
            publish(log, '{"type":"reads","reads":' .. json_pairs(flat) .. '}')
        end
    end
    return replies
end)
