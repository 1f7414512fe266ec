// Search and sort of the model zoo's table. No library; works from a file too.
'use strict';

function makeZoo(box) {
  const table = box.querySelector('table');
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const text = rows.map((row) => row.textContent.toLowerCase() + ' ' +
    Array.from(row.querySelectorAll('[title]'), (e) => e.title.toLowerCase()).join(' '));

  const tools = document.createElement('div');
  tools.className = 'zoo-tools';
  const search = document.createElement('input');
  search.type = 'search';
  search.placeholder = 'words to search, for example: bsa imagenet';
  search.setAttribute('aria-label', 'Search the table of models');
  const count = document.createElement('span');
  count.setAttribute('role', 'status');
  tools.append(search);

  // one list of choices per column that has few values
  const lists = ['method', 'task', 'data'].map((name) => {
    const column = heads.findIndex((head) => head.textContent === name);
    const list = document.createElement('select');
    list.setAttribute('aria-label', name);
    list.add(new Option('any ' + name, ''));
    const values = new Set(rows.map((row) => row.cells[column].textContent));
    Array.from(values).sort().forEach((value) => list.add(new Option(value, value)));
    list.addEventListener('change', filter);
    tools.append(list);
    return { column, list };
  });
  tools.append(count);
  box.prepend(tools);

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = !words.every((word) => text[i].includes(word)) ||
        lists.some(({ column, list }) => list.value &&
          row.cells[column].textContent !== list.value);
      shown += !row.hidden;
    });
    count.textContent = shown + ' of ' + rows.length + ' rows';
  }

  function key(row, column) {
    const cell = row.cells[column];
    if (!('value' in cell.dataset)) return cell.textContent.toLowerCase();
    return cell.dataset.value === '' ? null : Number(cell.dataset.value);
  }

  function sort(column) {
    const down = heads[column].getAttribute('aria-sort') === 'ascending';
    heads.forEach((head) => head.removeAttribute('aria-sort'));
    heads[column].setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const order = rows.map((row) => [key(row, column), row]);
    order.sort(([a], [b]) => {
      if (a === null || a === '' || b === null || b === '') { // unknown values come last
        return (a === null || a === '') - (b === null || b === '');
      }
      const less = typeof a === 'number' ? a - b : a.localeCompare(b, 'en', { numeric: true });
      return down ? -less : less;
    });
    body.append(...order.map(([, row]) => row));
  }

  heads.forEach((head, column) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = head.textContent;
    button.addEventListener('click', () => sort(column));
    head.replaceChildren(button);
  });
  search.addEventListener('input', filter);
  filter();
}

document.querySelectorAll('.zoo').forEach(makeZoo);
