-- martlet_once: appends what may have been appended before, once. Fenced like a plain append.
--
-- KEYS  log nodes epochs meta
-- ARGV  node · the epoch that it knows · the seq up to which it has looked for the keys itself · bound of the log ·
--       then for each send: 1 if it is a repetition, else 0 · position known at the first try ('' none) · number of
--       fields and values · fields and values as they go into the log, `user` and `key` among them
-- Returns {epoch, base, outcomes}, an outcome for each send: {'stored', ID} · {'repeated', ID, at} · {'unknown'}: it is
--       a repetition, is not in the log, and the log no longer holds all since the first try (nothing stored);
--       nil if there is no log; error REFUSED if its epoch is another (nothing changed)
-- Atomic all of it: look-up; if other nodes are in the room a new epoch before the first append (it refuses first tries
--       still on their way) and PUBLISH of epoch and messages; appends.

redis.register_function('martlet_once', function(keys, args)
    local log, nodes, epochs, meta = unpack(keys)
    local node, epoch, known, maxlen = unpack(args)
    known, maxlen = number(known, 'known'), int(number(maxlen, 'maxlen'))
    channel(log)
    check({'stream', 'hash', 'list', 'hash'}, keys)
    if redis.call('EXISTS', log) == 0 then return false end
    local room = read_room(log, epochs, meta)
    if int(room.epoch) ~= epoch then
        return {err = 'REFUSED the epoch of ' .. log .. ' is ' .. int(room.epoch) .. ', not ' .. epoch}
    end

    local found = (known == 0 or room.seq > known) and marks_above(log, known) or {}
    local others = redis.call('HLEN', nodes) > redis.call('HEXISTS', nodes, node)
    local first, outcomes, index, raised = room.first or room.seq + 1, {}, 5, false
    while args[index] do
        local again, since, count = args[index], args[index + 1], number(args[index + 2], 'the number of fields')
        local _, from = position(since)
        local fields = {unpack(args, index + 3, index + 2 + count)}
        local name = mark(fields)
        index = index + 3 + count
        if name and found[name] then
            outcomes[#outcomes + 1] = {'repeated', found[name][1], found[name][2]}
        elseif again == '1' and first > (from or 0) + 1 then
            outcomes[#outcomes + 1] = {'unknown'}
        else
            if others and not raised then
                raise(log, epochs, meta, room, math.max(now(), room.epoch + 1))
                publish_epoch(log, nodes, room, node)
                raised = true
            end
            local id = redis.call('XADD', log, 'MAXLEN', '~', maxlen, int(room.epoch) .. '-*', unpack(fields))
            if others then publish_message(log, id, room.chain[#room.chain].base, fields) end
            if name then found[name] = {id, field(fields, 'at') or '0'} end
            outcomes[#outcomes + 1] = {'stored', id}
        end
    end
    return {int(room.epoch), int(room.chain[#room.chain].base), outcomes}
end)
