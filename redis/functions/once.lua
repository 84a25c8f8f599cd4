-- martlet_once: appends what may have been appended before, once. Fenced like a plain append.
--
-- KEYS  log nodes epochs meta
-- ARGV  node · the epoch that it knows · `<from>-<known>`: it has looked for the keys itself among the seqs above
--       `from`, up to `known` (`<known>` alone: from 0) · bounds of the log, as for say · then for each send: 1 if it
--       is a repetition, else 0 · position known at the first try ('' none) · number of fields and values · fields and
--       values as they go into the log, `user` and `key` among them
-- Returns {epoch, base, outcomes}, an outcome for each send: {'stored', ID} · {'repeated', ID, at} · {'unknown'}: it is
--       a repetition, is not in the log, and the log no longer holds all since the first try (nothing stored); nil if
--       there is no log; error REFUSED if its epoch is another (nothing changed); error AGAIN if more of the log has to
--       be read first than one call reads: the same call again reads on (nothing was stored)
-- Atomic all of it: look-up; appends; if other nodes are in the room PUBLISH of the messages, then a new epoch (it
--       refuses first tries still on their way) and its PUBLISH.

redis.register_function('martlet_once', function(keys, args)
    local log, nodes, epochs, meta = unpack(keys)
    local node, epoch, known, maxlen = unpack(args, 1, 4)
    local from, to = (known or ''):match('^(%d+)%-(%d+)$')
    from, known = number(from or '0', 'from'), number(to or known, 'known')
    local kept = log_bounds(maxlen, 'maxlen')
    channel(log)
    check({'stream', 'hash', 'list', 'hash'}, keys)
    local most = int(most_entries(log, kept))
    if redis.call('EXISTS', log) == 0 then return false end
    local room = read_room(log, epochs, meta, -1)
    if int(room.epoch) ~= epoch then
        return {err = 'REFUSED the epoch of ' .. log .. ' is ' .. int(room.epoch) .. ', not ' .. epoch}
    end

    local sends, wanted, index = {}, {}, 5
    while args[index] do
        local count = number(args[index + 2], 'the number of fields')
        local fields = {unpack(args, index + 3, index + 2 + count)}
        local send = {again = args[index] == '1', since = args[index + 1], fields = fields, name = mark(fields)}
        send.root = field(fields, 'thread')
        if send.root then check(AMENDMENT_TYPES, {amendment_keys(log)}) end
        if send.name then wanted[send.name] = true end
        sends[#sends + 1] = send
        index = index + 3 + count
    end

    local found = find(log, room, from, known, wanted)
    if not found then return again(log) end
    local others = redis.call('HLEN', nodes) > redis.call('HEXISTS', nodes, node)
    local first, outcomes, stored = room.first or room.seq + 1, {}, false
    for place, send in ipairs(sends) do
        local earlier = send.name and found[send.name]
        local _, since = position(send.since)
        if earlier then
            outcomes[place] = {'repeated', earlier[1], earlier[2]}
        elseif send.again and first > (since or 0) + 1 then
            outcomes[place] = {'unknown'}
        else
            local id = redis.call('XADD', log, 'MAXLEN', '~', most, int(room.epoch) .. '-*', unpack(send.fields))
            if send.root then count_reply(log, id, send.root, 1) end
            if others then publish_message(log, id, room.base, send.fields) end
            if send.name then found[send.name] = {id, field(send.fields, 'at') or '0'} end
            outcomes[place], stored = {'stored', id}, true
        end
    end
    -- After the appends, so that a first try that the new epoch refuses can be repeated only after what was stored
    -- here.
    if stored and others then
        local reached = last_id(log)
        room.seq, room.first = reached.seq, reached.first
        raise(log, epochs, meta, room, math.max(now(), room.epoch + 1))
        publish_epoch(log, nodes, room, node)
    end
    return {int(room.epoch), int(room.base), outcomes}
end)
