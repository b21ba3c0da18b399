// What `looks_over` asks of a page. It comes before a page's own scripts, and does nothing until it is asked.
window.looking = {
    // The words at the head of a table's rows that are broken, though they are narrower than so many pixels.
    broken(least) {
        const texts = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
        const range = document.createRange(), found = [];
        while (texts.nextNode()) {
            const text = texts.currentNode;
            if (!text.parentElement.closest('tbody th')) continue;
            for (const word of text.data.matchAll(/[a-z0-9.+]+/gi)) {
                range.setStart(text, word.index);
                range.setEnd(text, word.index + word[0].length);
                const parts = [...range.getClientRects()].filter(part => part.width > 0);
                const width = parts.reduce((sum, part) => sum + part.width, 0);
                const lines = new Set(parts.map(part => Math.round(part.top)));
                if (lines.size > 1 && width < least) found.push(word[0]);
            }
        }
        return found;
    },

    // The buttons, and the names at the top of the page, that are narrower than what is written on them.
    cut() {
        return [...document.querySelectorAll('.btn, .where *')]
            .filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText);
    },

    // The last buttons of rows at the top of the page that do not end where the others do.
    ragged() {
        return [...document.querySelectorAll('.page-header .btn-list')].flatMap(list => {
            const end = list.getBoundingClientRect().right, rows = new Map();
            for (const button of list.querySelectorAll('.btn')) rows.set(button.offsetTop, button);
            return [...rows.values()].filter(last => last.getBoundingClientRect().right < end - 1)
                .map(last => last.innerText);
        });
    },

    // What does not fit into a page of this width; on a phone, a row of buttons is filled.
    misfits(width, phone) {
        const wide = document.documentElement.scrollWidth;
        return [
            ...(wide > width ? [`the page is ${wide} wide, and not ${width}`] : []),
            ...this.broken(Math.floor(width / 2)).map(word => `${width}: “${word}” is broken`),
            ...this.cut().map(label => `${width}: “${label}” is cut off`),
            ...(phone ? this.ragged().map(label => `${width}: “${label}” does not fill its row`) : []),
        ];
    },

    // What axe finds by the rules, or by all. What is right is not described, which takes as long as finding it.
    async violations(rules) {
        if (!window.axe) this.bringAxe();
        const found = await axe.run({
            resultTypes: ['violations'], preload: false, ...(rules ? {runOnly: rules} : {}),
        });
        return found.violations.map(
            one => `${one.id}: ${one.nodes.map(node => node.target.join(' ')).join(', ')}`);
    },
};
