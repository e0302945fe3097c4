// Draws every page by itself, from the path.
document.querySelector('#page').textContent = `This is ${location.pathname}`;
