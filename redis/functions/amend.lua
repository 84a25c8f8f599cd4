-- martlet_amend: changes an earlier message of a room:
-- FCALL martlet_amend 1 'martlet:{lobby}:log' edit ana 1795230114073-3 'hello, world'
--
-- KEYS  log
-- ARGV  operation · user · position of the message · text (of a reaction the emoji) · optional, '' for none: data (JSON)
--       · key: done once per user and key · at in ms (now) · ms in which users may edit and delete their own messages (0:
--       no bound) · any: the user may change the messages of others, and pin · user: rules bind the user, not sanctions
--       alone · bounds of the log, as for say · ms after which a log that no node holds is forgotten (7 days). The
--       operations:
--       edit: the text and data of the message are replaced as a whole · delete: erases the message and its edits
--       react, unreact: the user's own reaction of that emoji, at most 64 bytes · pin, unpin
--       delete-user: erases the messages of the user that `text` names, from the position on ('': from the beginning)
--       delete-range: erases the messages from the position on, up to the position in `text`
--       report: asks moderators to look at the message; `text`: why, at most 200 bytes. An entry of `audit`, none of the
--       log
-- Returns {ID of the amendment, 'stored'}; {ID of the earlier one, 'repeated'} if the log holds the key of that user
--       already; {last ID of the log, 'unchanged'} if the message was as wanted already. Of delete-user and delete-range
--       {ID or last ID, 'stored' or 'unchanged', number of messages erased, position at which to go on, '' at the end}.
--       Errors AGAIN, REFUSED and of the rules: see say. Errors that begin with noSuchMessage, notAMessage,
--       messageDeleted, notAuthor, tooLate, tooManyEdits, tooManyReactions: nothing was changed
-- Atomic all of it: the checks; the amendment, an entry of the log at its own epoch with the fields `op` and `of`, and
--       `n` (of an edit the number of edits, of a reaction the number of users; `data` then names the first of them);
--       the state of the message in `overlay`; what is erased, which leaves the log; PUBLISH, always.

do -- A chunk has room for 200 locals, so those of this file end with it.

local MOST_EDITS, MOST_KINDS, MOST_REACTIONS, LONGEST_EMOJI = 50, 20, 1000, 64
-- How much of the log one call of delete-user and delete-range reads, and how many messages and edits it erases.
local ERASED_PIECE = {count = 256, bytes = 262144, most = 100}
-- How many fields of `overlay` each amendment looks at, besides two for each message that it erases.
local SWEPT = 16

local function amend_error(text)
    return {err = 'ERR martlet: ' .. text}
end

-- The fields of the amendment that differ by operation, {n, text, data}; or an error; or false: it is as wanted.
local function changes_of(log, operation, user, seq, state, text, data)
    if operation == 'edit' then
        if #(state.edits or {}) >= MOST_EDITS then return nil, 'tooManyEdits: the message was edited 50 times' end
        return {n = int((state.v or 0) + 1), text = text, data = data}
    elseif operation == 'delete' then
        return {}
    elseif operation == 'pin' or operation == 'unpin' then
        return (operation == 'pin') ~= (state.pinned ~= nil) and {} or false
    end
    local reaction = state.reactions and state.reactions[text] or {n = 0}
    local hashes = redis.call('HGET', overlay_key(log), seq .. ':' .. text) or ''
    local found = find_hash(hashes, user) ~= nil
    if found == (operation == 'react') then return false end
    local users = decoded_list(cjson.encode(reaction.users or {}))
    if operation == 'unreact' then
        local kept = {}
        for _, name in ipairs(users) do
            if name ~= user then kept[#kept + 1] = name end
        end
        return {n = int(math.max(0, reaction.n - 1)), text = text, data = json_list(kept)}
    end
    local kinds = 0
    for _ in pairs(state.reactions or {}) do kinds = kinds + 1 end
    if reaction.n == 0 and kinds >= MOST_KINDS then
        return nil, 'tooManyReactions: the message has 20 kinds of reactions'
    end
    if #hashes >= 8 * MOST_REACTIONS then return nil, 'tooManyReactions: 1000 users have reacted so' end
    if #users < MOST_NAMES then users[#users + 1] = user end
    return {n = int(reaction.n + 1), text = text, data = json_list(users)}
end

-- The targets of delete-user and delete-range in the next piece of the log: {positions}, where to go on ('' at the
-- end).
local function erased_piece(log, operation, from, text)
    local to = operation == 'delete-range' and text or '+'
    local entries, more = page('XRANGE', log, from == '' and '-' or from, to, ERASED_PIECE.count, ERASED_PIECE.bytes)
    local targets, next, left = {}, '', ERASED_PIECE.most
    for _, entry in ipairs(entries) do
        local epoch, seq = position(entry[1])
        local is_wanted = epoch and not field(entry[2], 'op')
            and (operation == 'delete-range' or field(entry[2], 'user') == text)
        if is_wanted then
            local count = 1 + #(read_state(log, int(seq)).edits or {})
            if #targets > 0 and count > left then return targets, entry[1] end
            targets[#targets + 1], left = entry[1], left - count
        end
        if epoch then next = int(epoch) .. '-' .. int(seq + 1) end
    end
    return targets, more and next or ''
end

-- Whether the user may have that done to the message: its entry, or an error.
local function target_of(log, room, operation, user, target, at, window, any)
    local found = entry_or_tombstone(log, target, room)
    if not found then return nil, 'noSuchMessage: the log holds no message there' end
    local fields = found[2]
    if field(fields, 'op') then return nil, 'notAMessage: there is an amendment' end
    if field(fields, 'deleted') then return nil, 'messageDeleted: the message was deleted' end
    local needs_any = operation == 'pin' or operation == 'unpin'
    local is_own = field(fields, 'user') == user
    if any ~= 'any' and (needs_any or (operation == 'edit' or operation == 'delete') and not is_own) then
        return nil, 'notAuthor: this takes the right to change the messages of others'
    end
    if any ~= 'any' and window > 0 and (operation == 'edit' or operation == 'delete')
        and at - (whole(field(fields, 'at')) or 0) > window then
        return nil, 'tooLate: the message is older than ' .. int(window) .. ' ms'
    end
    return found
end

-- Tells moderators of the message. Who reports it again soon changes nothing.
local function report(log, room, user, target, reason)
    local found, problem = target_of(log, room, 'report', user, target, 0, 0, '')
    if not found then return amend_error(problem) end
    local _, _, audit = rules_keys(log)
    check({'stream'}, {audit})
    for _, entry in ipairs(redis.call('XREVRANGE', audit, '+', '-', 'COUNT', 32)) do
        local fields = entry[2]
        if field(fields, 'operation') == 'report' and field(fields, 'by') == user and field(fields, 'value') == target then
            return {target, 'unchanged'}
        end
    end
    redis.call('XADD', audit, 'MAXLEN', '~', '1000', '*', 'operation', 'report', 'user', field(found[2], 'user') or '',
        'value', target, 'reason', reason, 'by', user, 'version', int(rules_version(log)))
    local ttl = redis.call('PTTL', log)
    if ttl > 0 then redis.call('PEXPIRE', audit, ttl) end
    return {target, 'stored'}
end

-- `sound`: a node has checked the data, which costs less there.
local function amendment_problem(operation, target, text, data, sound)
    local reacts = operation == 'react' or operation == 'unreact'
    local erases = operation == 'delete-user' or operation == 'delete-range'
    if not reacts and not erases and operation ~= 'edit' and operation ~= 'delete' and operation ~= 'pin'
        and operation ~= 'unpin' and operation ~= 'report' then
        return 'the operation is none of edit delete react unreact pin unpin delete-user delete-range report'
    end
    if operation == 'report' and (#text > 200 or text:find('%c')) then
        return 'the reason must be at most 200 bytes without control characters'
    end
    if not position(target) and not (operation == 'delete-user' and target == '') then
        return 'of is not a position'
    end
    if operation == 'delete-range' and not position(text) then return 'the end of the range is not a position' end
    if operation == 'edit' and text == '' and data == '' then return 'nothing to say: text and data are empty' end
    if operation == 'edit' and data ~= '' and not sound and not pcall(cjson.decode, data) then return 'data is no JSON' end
    if reacts and (text == '' or #text > LONGEST_EMOJI or text:find('%c')) then
        return 'a reaction must be 1 to 64 bytes without control characters'
    end
end

redis.register_function('martlet_amend', function(keys, args)
    local log = keys[1]
    local operation, user, target, text, data, key, at, window, any, obeys, maxlen, ttl = unpack(args, 1, 12)
    operation, target, text, data = operation or '', target or '', text or '', data or ''
    at = at and at ~= '' and number(at, 'at') or now()
    window = window and window ~= '' and number(window, 'window') or 0
    local kept = log_bounds(maxlen and maxlen ~= '' and maxlen or DEFAULT_BOUNDS, 'maxlen')
    ttl = ttl and ttl ~= '' and number(ttl, 'ttl') or 604800000
    channel(log)
    local meta = key_of(log, 'meta')
    check({'stream', 'hash', 'hash', 'zset'}, {log, meta, amendment_keys(log)})
    check({'hash', 'hash'}, {rules_keys(log)})
    local problem = user_error(user)
    if problem then return problem end
    problem = amendment_problem(operation, target, text, data, obeys == 'user')
    if problem then return amend_error(problem) end
    local forbidden = sanction_error(log, user) or obeys == 'user' and operation ~= 'report' and rules_error(log, user)
    if forbidden then return {err = forbidden} end
    if redis.call('EXISTS', log) == 0 then return amend_error('noSuchMessage: the room has no log') end

    local room = last_id(log)
    if operation == 'report' then
        local epoch, seq = position(target)
        return report(log, room, user, int(epoch) .. '-' .. int(seq), text)
    end
    local name = key and key ~= '' and user .. '\n' .. key
    if name then
        room.history = read_room(log, key_of(log, 'epochs'), meta, -1).history
        local found = find(log, room, 0, 0, {[name] = true})
        if not found then return again(log) end
        if found[name] then return {found[name][1], 'repeated'} end
    end
    if awaits_returns(log, meta) then
        return {err = 'REFUSED nodes of the room may still put back what this redis lost: try again'}
    end

    local last = int(room.epoch) .. '-' .. int(room.seq)
    local targets, next, changes
    if operation == 'delete-user' or operation == 'delete-range' then
        if any ~= 'any' then return amend_error('notAuthor: this takes the right to change the messages of others') end
        targets, next = erased_piece(log, operation, target, text)
        if #targets == 0 then return {last, 'unchanged', 0, next} end
        target, operation, changes = targets[1], 'delete', {data = json_list(targets)}
    else
        local epoch, seq = position(target)
        target = int(epoch) .. '-' .. int(seq)
        local found
        found, problem = target_of(log, room, operation, user, target, at, window, any)
        if not found then return amend_error(problem) end
        changes, problem = changes_of(log, operation, user, int(seq), read_state(log, int(seq)), text, data)
        if problem then return amend_error(problem) end
        if not changes then return {last, 'unchanged'} end
    end

    local fields = {'user', user, 'at', int(at)}
    for _, item in ipairs({{'text', changes.text}, {'data', changes.data}, {'op', operation}, {'of', target},
        {'n', changes.n}, {'key', key}}) do
        local value = item[2]
        if value and value ~= '' and not (item[1] == 'n' and value == '0') then
            fields[#fields + 1] = item[1]
            fields[#fields + 1] = value
        end
    end
    local id = append_outside(log, room, kept, fields)
    fold(log, id, fields)
    sweep_overlay(log, meta, last_id(log).first or room.seq, SWEPT + 2 * (targets and #targets or 0))
    renew_outside(log, meta, ttl)
    publish_message(log, id, nil, fields)
    if targets then return {id, 'stored', #targets, next} end
    return {id, 'stored'}
end)

end
