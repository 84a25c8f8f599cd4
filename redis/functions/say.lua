-- martlet_say: a message from somebody who is in no room, a program or a person:
-- FCALL martlet_say 1 'martlet:{lobby}:log' bot 'hello'
--
-- KEYS  log
-- ARGV  user · text · optional, '' for none: data (JSON) · key: said once per user and key · at in ms (now) · bounds of
--       the log, `<messages>:<bytes>:<messages>:<bytes>`, the second ones of a log that a participant has not read
--       (1000:4194304:10000:16777216) · ms after which a log that no node holds is forgotten (7 days) · user: it is
--       bound by the room's rules as well, not by sanctions alone · position of the message to which it is a reply in a
--       thread · JSON array of the users whom it mentions
-- Returns {ID, 'stored'}, or {ID, 'repeated'} if the log already holds the key of that user (then nothing was changed);
--       error AGAIN if more of the log has to be read first than one call reads: the same call again reads on (nothing
--       was stored); error REFUSED while the room's nodes may put back what this Redis lost (nothing was stored: try
--       again; five seconds at most); an error that begins with banned, muted, frozen, notModerator, notParticipant or
--       blocked if a rule or the other one of a direct conversation forbids it
-- Atomic all of it: look-up, append at the log's own epoch (so it never is refused), PUBLISH, always. No log: one
--       begins, and expires unless a node enters. Restarted or failed-over Redis that no node has entered since: a new
--       epoch first, for the log may have lost its tail, and a lost message's position must not be given again.
--
-- The room's other keys are derived from the log's (same hash tag, same slot), so that a person need not type them.

redis.register_function('martlet_say', function(keys, args)
    local log = keys[1]
    local user, _, data, _, at, maxlen, ttl, obeys, thread, mentions = unpack(args, 1, 10)
    at = at and at ~= '' and number(at, 'at') or now()
    local kept = log_bounds(maxlen and maxlen ~= '' and maxlen or DEFAULT_BOUNDS, 'maxlen')
    ttl = ttl and ttl ~= '' and number(ttl, 'ttl') or 604800000
    channel(log)
    local meta = key_of(log, 'meta')
    local rules, sanctions, audit = rules_keys(log)
    check({'stream', 'hash'}, {log, meta})
    local problem = user_error(user)
    if problem then return problem end
    if data and data ~= '' and not pcall(cjson.decode, data) then return {err = 'ERR martlet: data is no JSON'} end

    local fields = {'user', user, 'at', int(at)}
    for _, item in ipairs({{'text', args[2]}, {'data', data}, {'thread', thread}, {'mentions', mentions}, {'key', args[4]}}) do
        local name, value = unpack(item, 1, 2)
        if value and value ~= '' then
            fields[#fields + 1] = name
            fields[#fields + 1] = value
        end
    end
    if thread and thread ~= '' and not position(thread) then return {err = 'ERR martlet: thread is not a position'} end
    if not field(fields, 'text') and not field(fields, 'data') then
        return {err = 'ERR martlet: nothing to say: text and data are empty'}
    end

    check({'hash', 'hash', 'stream', 'hash'}, {rules, sanctions, audit, (conversation_keys(log))})
    local forbidden = sanction_error(log, user) or obeys == 'user' and rules_error(log, user)
    if forbidden then return {err = forbidden} end

    local id
    if redis.call('EXISTS', log) == 0 then
        id = redis.call('XADD', log, int(now()) .. '-1', unpack(fields))
        redis.call('DEL', index_key(log))
        forget_amendments(log)
        redis.call('HSET', meta, 'run', run_id())
        expire_room(log, meta, ttl, {log, meta})
    else
        local room, name = last_id(log), mark(fields)
        if name then
            room.history = read_room(log, key_of(log, 'epochs'), meta, -1).history
            local found = find(log, room, 0, 0, {[name] = true})
            if not found then return again(log) end
            if found[name] then return {found[name][1], 'repeated'} end
        end
        if awaits_returns(log, meta) then
            return {err = 'REFUSED nodes of the room may still put back what this redis lost: try again'}
        end
        id = append_outside(log, room, kept, fields)
        if field(fields, 'thread') then fold(log, id, fields) end
        renew_outside(log, meta, ttl)
    end
    sender_has_read(log, user, id)
    publish_message(log, id, nil, fields)
    return {id, 'stored'}
end)
