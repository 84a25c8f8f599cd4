"""Going to a date: days that are far back in a room's log, by keyboard and on a phone."""
import asyncio
import datetime

from bench import MOST_ROWS, PHONE, WIDE, audit, check, holds, say, shows, texts, until

ZONE = "Asia/Kathmandu"
OFFSET = datetime.timezone(datetime.timedelta(hours=5, minutes=45))
# Days before today and how many messages were said then. More than a page (60) is between any two of them.
DAYS = {40: 90, 12: 200, 11: 120, 3: 150}


def day(ago):
    return datetime.datetime.now(OFFSET).date() - datetime.timedelta(days=ago)


def every_line():
    return [f"{ago} days ago, {index}" for ago, number in DAYS.items() for index in range(number)]


async def earlier(bench, name):
    """A room with the messages of all days. Those of a day begin at the very midnight of the page's time zone. None if the nodes'
    Redis is not known, which is said."""
    if bench.redis_port is None:
        print("    skipped: no --redis-port was given")
        return None
    room = bench.room(name)
    commands = []
    for ago, number in DAYS.items():
        midnight = int(datetime.datetime.combine(day(ago), datetime.time(), OFFSET).timestamp() * 1_000)
        for index in range(number):
            words = ["FCALL", "martlet_say", "1", f"'martlet:{{{room}}}:log'", "ana", f"'{ago} days ago, {index}'", "''", "''",
                     str(midnight + index * 60_000)]
            commands.append(" ".join(words))
    process = await asyncio.create_subprocess_exec(
        "redis-cli", "-p", str(bench.redis_port), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate("\n".join(commands).encode())
    stored = output.decode().split().count("stored")
    check(stored == sum(DAYS.values()), f"{stored} earlier messages are stored: {output.decode()[-200:]}")
    return room


async def ask(page, date):
    """Opens the dialog and goes to a day, by keyboard."""
    await page.locator("#go-to-date").focus()
    await page.keyboard.press("Enter")
    await holds(page, "document.getElementById('date-dialog').open && document.activeElement.id === 'date-day'")
    await page.keyboard.type(date.strftime("%m%d%Y"))
    check(await page.input_value("#date-day") == date.isoformat(), f"{date} is typed: {await page.input_value('#date-day')}")
    await page.keyboard.press("Enter")


async def arrives(page, text):
    """The dialog is gone, and that message is in sight and has the focus."""
    await holds(page, "!document.getElementById('date-dialog').open")
    await holds(page, "(text) => document.activeElement.querySelector('.text')?.textContent === text", text)
    check(await page.evaluate("""() => {
        const box = document.activeElement.getBoundingClientRect();
        const log = document.getElementById('log').getBoundingClientRect();
        return box.top >= log.top && box.bottom <= log.bottom;
    }"""), f"{text} is in sight")


async def in_order(page):
    """What is in the document is a part of the log without a gap."""
    every = every_line()
    now = [text for text in await texts(page) if text in every]
    first = every.index(now[0])
    check(now == every[first:first + len(now)], f"the lines in sight follow each other: {now[:3]}…{now[-3:]}")
    check(len(now) <= MOST_ROWS, f"{len(now)} rows are in the document")
    return now


async def check_dates(bench):
    """Going to a date by keyboard: to days far back, before the first message and after the last; down again without a gap."""
    room = await earlier(bench, "dates")
    if room is None:
        return
    page = await bench.page("ana", room, **WIDE, timezone_id=ZONE)
    await shows(page, "3 days ago, 149")
    field = page.locator("#date-day")

    # Escape asks for nothing, and the focus is where it was.
    await page.locator("#go-to-date").focus()
    await page.keyboard.press("Enter")
    await holds(page, "document.activeElement.id === 'date-day'")
    check(await field.get_attribute("max") == day(0).isoformat(), f"no later day than today: {await field.get_attribute('max')}")
    check(await field.evaluate("(field) => field.labels[0].textContent") == "Day", "the field has a name")
    await bench.picture(page, "date-dialog")
    await page.keyboard.press("Escape")
    await holds(page, "!document.getElementById('date-dialog').open && document.activeElement.id === 'go-to-date'")
    check("3 days ago, 149" in await texts(page), "the newest are still there")

    # A day whose messages are not loaded: its first message, with the day before above it.
    await ask(page, day(11))
    await arrives(page, "11 days ago, 0")
    now = await in_order(page)
    check("12 days ago, 199" in now and "3 days ago, 149" not in now, "it is the part around it that is shown")
    await bench.picture(page, "date")
    # A day without a message: the first one after it. A day before all: where the log begins.
    await ask(page, day(30))
    await arrives(page, "12 days ago, 0")
    await ask(page, day(400))
    await arrives(page, "40 days ago, 0")
    await holds(page, "document.getElementById('top').textContent.includes('begins')")
    # Changes are shown there, and what is said meanwhile is not.
    position = await page.evaluate("document.activeElement.dataset.position")
    await page.evaluate("document.activeElement.focus()")
    await page.keyboard.press("e")
    await holds(page, "document.activeElement.id === 'text'")
    check(await page.input_value("#text") == "40 days ago, 0", "it can be edited")
    await page.keyboard.press("Escape")
    await page.locator(f"[data-position='{position}']").hover()
    await page.locator(f"[data-position='{position}'] .tool[aria-label=React]").click()
    await page.locator("#menu .emoji", has_text="👍").click()
    await holds(page, f"document.querySelector(\"[data-position='{position}'] .reaction\") !== null")
    await bench.fill(room, ["said meanwhile"])
    await holds(page, "document.getElementById('to-newest-text').textContent === '1 new'")
    check("said meanwhile" not in await texts(page), "the newest is elsewhere")

    # Down again: every message, and then the newest goes on.
    seen = set()
    await page.hover("#log")

    async def arrived():
        await page.mouse.wheel(0, 700)
        is_end = "said meanwhile" in await texts(page)
        seen.update(await in_order(page))
        return is_end

    await until(arrived, "one comes to the newest by scrolling", 60)
    missing = [text for text in every_line() if text not in seen]
    check(not missing, f"{len(missing)} messages were not there: {missing[:2]}…{missing[-2:]}")
    await until(lambda: at_end(page), "the newest is followed again")
    await bench.fill(room, ["said at last"])
    await shows(page, "said at last")

    # The way back by one press, and by saying something.
    await page.reload()
    await shows(page, "said at last")
    await ask(page, day(40))
    await arrives(page, "40 days ago, 0")
    await page.click("#to-newest")
    await shows(page, "said at last")
    await until(lambda: at_end(page), "the newest is in sight")
    await ask(page, day(40))
    await arrives(page, "40 days ago, 0")
    await say(page, "said from there")
    await shows(page, "said from there")
    # After the last message of earlier days only the newest are left; today's first is among them.
    await ask(page, day(1))
    await arrives(page, "said meanwhile")


async def at_end(page):
    await page.mouse.wheel(0, 700)
    return await page.locator("#to-newest").is_hidden()


async def check_date_problems(bench):
    """A date of an empty room, one after the last message, a request that is refused, and a phone in the dark."""
    room = await earlier(bench, "date problems")
    if room is None:
        return
    refuses = False

    def wire(page_side):
        node_side = page_side.connect_to_server()

        def to_node(text):
            if refuses and '"type":"history"' in text:
                ref = text.split('"ref":', 1)[1].split(",", 1)[0].strip("}")
                page_side.send(f'{{"type":"error","ref":{ref},"code":503,"name":"unavailable","message":"no history now","retry":false}}')
            else:
                node_side.send(text)

        page_side.on_message(to_node)

    page = await bench.page("bo", room, wire=wire, **PHONE, timezone_id=ZONE, color_scheme="dark")
    await shows(page, "3 days ago, 149")
    refuses = True
    await ask(page, day(40))
    await page.wait_for_selector("#date-error:not([hidden])")
    check("no history now" in await page.text_content("#date-error"), "why is said")
    faults, _ = await audit(page, "the dialog")
    check(not faults, f"axe-core finds no fault in the dialog: {faults}")
    check(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than a phone")
    await bench.picture(page, "date-phone")
    refuses = False
    await page.locator("#date-day").focus()
    await page.keyboard.press("Enter")
    await arrives(page, "40 days ago, 0")
    # After the last message.
    await ask(page, day(1))
    await arrives(page, "3 days ago, 149")
    await bench.picture(page, "date-phone-newest")

    empty = await bench.page("ana", bench.room("no dates"), **WIDE, timezone_id=ZONE)
    await ask(empty, day(1))
    await holds(empty, "!document.getElementById('date-dialog').open")
    check(await empty.locator(".empty").is_visible(), "an empty room stays as it is")
