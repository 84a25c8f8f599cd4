-- martlet_receipts: what the participants of a room have read.
-- FCALL martlet_receipts 1 'martlet:{lobby}:log' 100
--
-- KEYS  log
-- ARGV  of how many participants at most they are wanted
-- Returns nil if the room has no participants; else {number of participants, amendments of the room's life, seq of the log's
--       last ID, entries in the log, {user, mark, …}}; mark: `<epoch>-<seq>.<ops>`. Who has no mark has read nothing, and
--       nobody has one if there are more participants than that.
-- Atomic all of it; changes nothing.

redis.register_function{function_name = 'martlet_receipts', flags = {'no-writes'}, callback = function(keys, args)
    local log = keys[1]
    local most = math.min(1000, number(args[1], 'participants'))
    channel(log)
    local meta, participants, reads = read_keys(log)
    local count = redis.call('HLEN', participants)
    if count == 0 then return false end
    check({'stream', 'hash', 'hash'}, {log, meta, reads})
    local ops, history = unpack(redis.call('HMGET', meta, 'ops', 'history'))
    ops, history = whole(ops or nil) or 0, whole(history or nil) or 0
    local room = redis.call('EXISTS', log) == 1 and last_id(log) or {seq = 0, length = 0}
    local marks = {}
    if count <= most then
        local flat = redis.call('HGETALL', reads)
        for index = 1, #flat, 2 do
            if read_mark(flat[index + 1], history, room.seq) then
                marks[#marks + 1] = flat[index]
                marks[#marks + 1] = flat[index + 1]
            end
        end
    end
    return {count, int(math.min(ops, room.seq)), int(room.seq), room.length, marks}
end}
