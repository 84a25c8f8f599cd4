"""Conversations: two users begin them, read, edit, react, reply, mention, star and delete, by mouse and by keyboard."""
import json
import re

from bench import PHONE, WIDE, audit, check, holds, say, shows, texts, until

ROW = "#rows .row[data-position]"


async def begin(page, kind, name, users=""):
    """Begins a conversation by mouse."""
    await page.click("#add-room")
    await page.check(f"#join-kinds input[value={kind}]", force=True)
    await page.fill("#join-name", name)
    if users:
        await page.fill("#join-users", users)
    await page.click("#join-submit")
    await holds(page, "!document.getElementById('join-dialog').open")


def row(page, text):
    return page.locator(ROW, has=page.locator(".text", has_text=re.compile(f"^{re.escape(text)}$"))).last


def entry(page, title):
    return page.locator(".rooms .room", has=page.locator(".room-name", has_text=re.compile(f"^{re.escape(title)}$")))


async def choose(page, text, choice):
    """Opens a message's menu with its tool, and chooses from it."""
    await row(page, text).hover()
    await row(page, text).locator(".tool[aria-label=More]").click()
    await page.locator("#menu [role=menuitem]", has_text=choice).click()


async def ready(page):
    await holds(page, "document.body.dataset.conversations === 'yes'")


async def check_converse(bench):
    """By mouse: a direct conversation with unread marks, receipts, reactions, edits, replies, stars and deletion."""
    ana_name, bo_name = f"ana-{bench.token}", f"bo-{bench.token}"
    ana = await bench.page(ana_name, bench.room("one"))
    bo = await bench.page(bo_name, bench.room("two"), url=bench.urls[-1])
    await ready(ana)
    await ready(bo)
    await begin(ana, "direct", bo_name)
    await holds(ana, f"document.getElementById('title').textContent === '{bo_name}'")
    await say(ana, "hello bo")
    await entry(bo, ana_name).locator(".badge").wait_for()
    await holds(bo, f"[...document.querySelectorAll('.room-preview')].some((one) => one.textContent === 'hello bo')")
    check((await bo.title()).startswith("(1)"), f"the title counts: {await bo.title()}")
    await bench.picture(bo, "conversation-unread")
    check(await ana.locator(".row.mine .marks.read").count() == 0, "nobody has read it")
    await entry(bo, ana_name).click()
    await bo.wait_for_selector(".new")
    await shows(bo, "hello bo")
    await until(lambda: gone(bo, ".room.unread"), "it is read where it is open")
    await ana.wait_for_selector(".row.mine .marks.read")
    await say(bo, "hello ana, how is it going?")
    await shows(ana, "hello ana, how is it going?")

    await row(bo, "hello bo").hover()
    await row(bo, "hello bo").locator(".tool[aria-label=React]").click()
    await bo.locator("#menu .emoji", has_text="👍").click()
    for page in (ana, bo):
        await holds(page, "document.querySelector('.reaction')?.getAttribute('aria-label').startsWith('👍 1')")
    await ana.click(".reaction")
    await holds(bo, "document.querySelector('.reaction')?.getAttribute('aria-label').startsWith('👍 2')")
    await ana.click(".reaction")
    await holds(bo, "document.querySelector('.reaction')?.getAttribute('aria-label').startsWith('👍 1')")

    await choose(ana, "hello bo", "Edit")
    check(await ana.input_value("#text") == "hello bo", "an edit begins with what was said")
    await ana.fill("#text", "hello dear bo")
    await ana.press("#text", "Enter")
    for page in (ana, bo):
        await shows(page, "hello dear bo")
        await holds(page, "document.querySelector('.edited') !== null")

    await row(ana, "hello ana, how is it going?").hover()
    await row(ana, "hello ana, how is it going?").locator(".tool[aria-label=Reply]").click()
    await holds(ana, "!document.getElementById('context').hidden")
    await say(ana, "very well")
    await ana.locator(".replies").wait_for()
    await row(bo, "very well").locator(".quote").wait_for()
    check("how is it going?" in await row(bo, "very well").locator(".quote").text_content(), "it shows what it replies to")
    await bo.locator(".replies").wait_for()
    await row(bo, "very well").locator(".quote").click()
    await bo.wait_for_selector(".row.found")
    await bench.picture(ana, "conversation")

    await choose(bo, "hello dear bo", "Star")
    await holds(bo, "document.querySelector('.meta [title=starred]') !== null")
    await bo.click("#show-stars")
    await bo.locator(".star-text", has_text="hello dear bo").wait_for()
    await bench.picture(bo, "stars")
    await bo.click("#stars-close")

    await choose(ana, "very well", "Delete")
    await bench.picture(ana, "delete")
    await ana.click("#confirm-act")
    for page in (ana, bo):
        await page.locator(".text.gone").wait_for()
        check("very well" not in await texts(page), "what was deleted is not shown")
    await ana.reload()
    await holds(ana, f"document.getElementById('title').textContent === '{bo_name}'")
    await shows(ana, "hello dear bo")
    await ana.locator(".text.gone").wait_for()
    check(await ana.locator(".room.unread").count() == 0, "after a reload nothing is unread")


async def gone(page, selector):
    return await page.locator(selector).count() == 0


async def check_group(bench):
    """By mouse: a group with roles, an invitation, mentions, notification levels, somebody removed and one who leaves."""
    ana_name, bo_name, che_name = (f"{name}-{bench.token}" for name in ("ana", "bo", "che"))
    crew = bench.room("crew")
    ana = await bench.page(ana_name, bench.room("one"))
    bo = await bench.page(bo_name, bench.room("two"), url=bench.urls[-1])
    che = await bench.page(che_name, bench.room("three"))
    for page in (ana, bo, che):
        await ready(page)
    await begin(ana, "group", crew, bo_name)
    await holds(ana, f"document.getElementById('title').textContent === '{crew}'")
    await entry(bo, crew).wait_for()
    await ana.locator("#participants .member").nth(1).wait_for()
    await ana.click("#invite")
    await ana.fill("#invite-users", che_name)
    await ana.click("#invite-form .primary")
    await entry(che, crew).wait_for()
    await ana.locator("#participants .member").nth(2).wait_for()

    await entry(bo, crew).click()
    await bo.locator("#participants .member").nth(2).wait_for()
    await bo.locator("#text").click()
    await bo.locator("#text").press_sequentially("@an")
    await bo.locator("#suggestions [role=option]", has_text=ana_name).click()
    await bo.locator("#text").press_sequentially("are you there?")
    await ana.locator(".rooms .room", has_text="one").first.click()
    await bo.press("#text", "Enter")
    await entry(ana, crew).locator(".badge.mention").wait_for()
    await bench.picture(ana, "mentioned")
    await entry(ana, crew).click()
    await ana.locator(".bubble.for-me .at.self").wait_for()
    await say(ana, "yes")
    await entry(che, crew).click()
    await shows(che, "yes")
    await shows(bo, "yes")
    await holds(ana, "[...document.querySelectorAll('.marks')].some((one) => one.title === 'read by all')")
    await bench.picture(ana, "group")

    await ana.click(f"#participants button[aria-label='About {bo_name}']")
    await ana.locator("#menu [role=menuitem]", has_text="Make moderator").click()
    await holds(ana, "/moderator/.test(document.getElementById('participants').textContent)")
    await ana.click(f"#participants button[aria-label='About {che_name}']")
    await ana.locator("#menu [role=menuitem]", has_text="Remove from the group").click()
    await ana.click("#confirm-act")
    await until(lambda: gone(che, f".room:has-text('{crew}')"), "who was removed does not have it in the list")
    await ana.select_option("#level", "none")
    await until(lambda: count(ana, "#participants .member", 2), "two are left")
    await bo.click("#leave-conversation")
    await bo.click("#confirm-act")
    await until(lambda: gone(bo, f".room:has-text('{crew}')"), "who left does not have it in the list")


async def count(page, selector, number):
    return await page.locator(selector).count() == number


async def check_keyboard(bench):
    """The same by keyboard alone: begin, read, react, edit, reply, star, delete; the list and the help."""
    ana_name, bo_name = f"kana-{bench.token}", f"kbo-{bench.token}"
    ana = await bench.page(ana_name, bench.room("one"))
    bo = await bench.page(bo_name, bench.room("two"), url=bench.urls[-1])
    await ready(ana)
    await ready(bo)
    keys = ana.keyboard
    await keys.press("Control+k")
    await holds(ana, "document.getElementById('join-dialog').open")
    await keys.press("Shift+Tab")
    await keys.press("ArrowRight")
    await holds(ana, "document.getElementById('join-label').textContent === 'Who'")
    await keys.press("Tab")
    await keys.type(bo_name)
    await keys.press("Enter")
    await holds(ana, f"document.getElementById('title').textContent === '{bo_name}'")
    await holds(ana, "document.activeElement.id === 'text'")
    await keys.type("first")
    await keys.press("Enter")
    await ana.locator(".row.mine .stored").wait_for()
    await keys.type("second")
    await keys.press("Enter")
    await until(lambda: count(ana, ".row.mine .stored", 2), "both are stored")
    # The last one is edited with the arrow.
    await keys.press("ArrowUp")
    check(await ana.input_value("#text") == "second", "the arrow edits the last message")
    await keys.type(", edited")
    await keys.press("Enter")
    await shows(ana, "second, edited")
    # Over to the messages.
    await keys.press("Shift+Tab")
    await holds(ana, "document.activeElement.id === 'log'")
    await keys.press("ArrowUp")
    await holds(ana, "document.activeElement.textContent.includes('second, edited')")
    await keys.press("ArrowUp")
    await holds(ana, "document.activeElement.textContent.includes('first')")
    await keys.press("Enter")
    await holds(ana, "document.activeElement.closest('#menu') !== null")
    await bench.picture(ana, "menu")
    await keys.press("ArrowRight")
    await keys.press("Enter")
    await holds(ana, "document.querySelector('.reaction')?.getAttribute('aria-pressed') === 'true'")
    await holds(ana, "document.activeElement.matches('.row')")
    await keys.press("s")
    await holds(ana, "document.querySelector('.meta [title=starred]') !== null")
    await keys.press("r")
    await holds(ana, "document.activeElement.id === 'text' && !document.getElementById('context').hidden")
    await keys.press("Escape")
    await holds(ana, "document.getElementById('context').hidden")
    await keys.press("Shift+Tab")
    await keys.press("ArrowUp")
    await keys.press("ArrowUp")
    await keys.press("d")
    await holds(ana, "document.getElementById('confirm-dialog').open")
    await keys.press("Tab")
    await keys.press("Enter")
    await ana.locator(".text.gone").wait_for()
    await keys.press("Escape")
    # The other one reads by keyboard.
    other = bo.keyboard
    await entry(bo, ana_name).wait_for()
    await other.press("Alt+ArrowUp")
    await holds(bo, f"document.getElementById('title').textContent === '{ana_name}'")
    await shows(bo, "second, edited")
    await ana.wait_for_selector(".row.mine .marks.read")
    await other.press("Control+/")
    await holds(bo, "document.getElementById('help-dialog').open")
    await bench.picture(bo, "help")
    await other.press("Escape")
    await holds(bo, "!document.getElementById('help-dialog').open")
    await bo.locator(".rooms .room").first.focus()
    await other.press("ArrowDown")
    await holds(bo, "document.activeElement.closest('li') === document.querySelectorAll('.rooms li')[1]")


async def check_older(bench):
    """A node that does not know conversations: the page shows nothing of them, and works."""
    def wire(page_side):
        node_side = page_side.connect_to_server()

        def to_node(text):
            frame = json.loads(text)
            newer = ("inbox", "watch", "unwatch", "online", "star", "stars", "unstar", "amend", "conversation", "participants", "read")
            if frame["type"] in newer:
                page_side.send(json.dumps({"type": "error", "ref": frame["ref"], "code": 103, "name": "unknownType",
                                           "message": "type is not known", "retry": False}))
            else:
                node_side.send(text)

        page_side.on_message(to_node)

    page = await bench.page("ana", bench.room("older"), wire=wire)
    await say(page, "as ever")
    await shows(page, "as ever")
    await row(page, "as ever").hover()
    check(await page.locator(".tools").count() == 0, "there are no tools")
    check(await page.locator("#show-stars").is_hidden(), "there are no stars")
    await page.click("#add-room")
    check(await page.locator("#join-kinds").is_hidden(), "there are rooms only")
    await page.fill("#join-name", bench.room("older too"))
    await page.keyboard.press("Enter")
    await holds(page, "document.getElementById('title').textContent.startsWith('older too')")
    check(await page.locator("#conversation").is_hidden(), "there are no participants")


async def check_entry(bench):
    """Entering shows where the new messages begin; what is scrolled past is read, on other devices too."""
    ana_name, bo_name = f"eana-{bench.token}", f"ebo-{bench.token}"
    crew = bench.room("entry")
    ana = await bench.page(ana_name, bench.room("one"))
    await ready(ana)
    bo = await bench.page(bo_name, bench.room("two"), url=bench.urls[-1])
    await ready(bo)
    await begin(bo, "group", crew, ana_name)
    for number in range(80):
        await say(bo, f"line {number}")
    await until(lambda: count(bo, "#waiting .row", 0), "all is stored")
    await holds(ana, "document.querySelector('.room.unread .badge')?.textContent.startsWith('80')")
    other = await bench.page(ana_name, bench.room("one"), url=bench.urls[-1])
    await holds(other, "document.querySelector('.room.unread .badge')?.textContent.startsWith('80')")
    await entry(ana, crew).click()
    await ana.wait_for_selector(".new")
    check(await in_sight(ana, ".new"), "where the new ones begin is in sight")
    check("line 0" in await texts(ana), "and what follows it")
    await bench.picture(ana, "entry")
    badge = "Number(document.querySelector('.room.unread .badge')?.textContent.match(/^[0-9]*/)[0] ?? 0)"
    await holds(other, f"{badge} < 80")
    check(await other.evaluate(badge) > 0, "what is below is not read")
    await ana.click("#to-newest")
    await until(lambda: gone(other, ".room.unread"), "what is read here is read there")


async def in_sight(page, selector):
    return await page.evaluate("""(selector) => {
        const box = document.querySelector(selector).getBoundingClientRect();
        const log = document.getElementById('log').getBoundingClientRect();
        return box.top >= log.top && box.bottom <= log.bottom;
    }""", selector)


async def check_conversation_access(bench):
    """axe-core finds no fault in conversations: menu, dialogs, group, phone; light and dark."""
    faults, views = [], 0

    async def look(page, name):
        nonlocal views
        views += 1
        faults.extend((await audit(page, name))[0])

    for theme in ("light", "dark"):
        ana_name, bo_name = f"Ana {theme} {bench.token}", f"Bo {theme} {bench.token}"
        crew = bench.room(f"Crew {theme}")
        ana = await bench.page(ana_name, bench.room("one"), **WIDE, color_scheme=theme)
        bo = await bench.page(bo_name, bench.room("one"), **PHONE, color_scheme=theme)
        await ready(ana)
        await ready(bo)
        await begin(ana, "group", crew, bo_name)
        for text in ("Shall we move the release to Thursday?", "The proxy's timeouts are checked.", f"@{bo_name} what do you think?"):
            await say(ana, text)
        await until(lambda: count(ana, ".row.mine .stored", 3), "all is stored")
        await bo.click("#to-rooms")
        await entry(bo, crew).wait_for()
        await look(bo, f"phone, list, {theme}")
        await bench.picture(bo, f"conversation-phone-list-{theme}")
        await entry(bo, crew).click()
        await bo.locator(".bubble.for-me").wait_for()
        await bo.locator(ROW).first.tap()
        await bo.locator(".row:focus .tools").wait_for()
        await bench.picture(bo, f"conversation-phone-tools-{theme}")
        await bo.locator(".row:focus .tool[aria-label=React]").tap()
        await look(bo, f"phone, menu, {theme}")
        await bench.picture(bo, f"conversation-phone-menu-{theme}")
        await bo.locator("#menu .emoji", has_text="🎉").tap()
        await ana.locator(".reaction").wait_for()
        await row(ana, "The proxy's timeouts are checked.").hover()
        await row(ana, "The proxy's timeouts are checked.").locator(".tool[aria-label=Reply]").click()
        await say(ana, "by me, that is.")
        # Rows that move would bring the tools of another one under the pointer.
        await shows(ana, "by me, that is.")
        await ana.locator(".replies").wait_for()
        await choose(ana, "The proxy's timeouts are checked.", "Pin")
        await ana.locator(".meta [title^=pinned]").wait_for()
        await choose(ana, "The proxy's timeouts are checked.", "Star")
        await ana.locator(".meta [title=starred]").wait_for()
        await choose(ana, "by me, that is.", "Edit")
        await say(ana, "by me, twice.")
        await holds(ana, "document.querySelector('.edited') !== null")
        await row(ana, "by me, twice.").hover()
        await look(ana, f"group, {theme}")
        await bench.picture(ana, f"conversation-wide-{theme}")
        await row(ana, "by me, twice.").locator(".tool[aria-label=More]").click()
        await look(ana, f"menu, {theme}")
        await bench.picture(ana, f"conversation-menu-{theme}")
        await ana.keyboard.press("Escape")
        await ana.fill("#text", "")
        await ana.locator("#text").press_sequentially("hey @")
        await ana.locator("#suggestions [role=option]").first.wait_for()
        await look(ana, f"names, {theme}")
        await bench.picture(ana, f"conversation-names-{theme}")
        await ana.keyboard.press("Escape")
        await ana.fill("#text", "")
        await ana.click("#show-help")
        await look(ana, f"help, {theme}")
        await bench.picture(ana, f"conversation-help-{theme}")
        await ana.click("#help-close")
        await ana.click("#show-stars")
        await look(ana, f"stars, {theme}")
        await ana.click("#stars-close")
        await ana.click("#add-room")
        await ana.check("#join-kinds input[value=group]", force=True)
        await look(ana, f"begin, {theme}")
        await bench.picture(ana, f"conversation-begin-{theme}")
        await ana.click("#join-cancel")
        await bench.picture(bo, f"conversation-phone-{theme}")
        await bo.click("#people-toggle")
        await bo.locator("#participants .member").nth(1).wait_for()
        await look(bo, f"phone, participants, {theme}")
        await bench.picture(bo, f"conversation-phone-people-{theme}")
        wide = await bo.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check(wide, "nothing is wider than a phone")
    print(f"    {views} views")
    check(not faults, "\n      ".join(["faults:", *faults]))
